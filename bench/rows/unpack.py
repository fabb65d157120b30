"""Row 9: unpacking a source tree where snapshots exist, and where none do."""

import io
import os
import shutil
import tarfile
from contextlib import ExitStack

from bench.commands import seconds_of
from bench.figures import Row, Table
from bench.filesystems import PLAIN
from bench.rounds import interleave
from bench.setting import Setting
from bench.umbra import Share

TARGET = 0.9
WITHOUT, WITH = "no snapshots", "snapshots exist"
# About what the sizes of source files look like.
SIZES = (300, 900, 2_000, 4_000, 7_000, 12_000, 20_000, 40_000)


def make_archive(path: str, files: int) -> None:
    content = (b"int main(void) { return 0; }  /* a line of a source file */\n" * 1000)[: max(SIZES)]
    with tarfile.open(path, "w") as archive:
        for number in range(files):
            member = tarfile.TarInfo(f"part-{number // 250}/module-{number // 25}/source-{number}.c")
            member.size = SIZES[number % len(SIZES)]
            member.mtime = 1_600_000_000 + number
            archive.addfile(member, io.BytesIO(content[: member.size]))


def unpacker(archive: str, place: str, share: Share | None = None):
    def once(number: int) -> dict[str, float]:
        if share:
            share.snapshot()
        target = f"{place}/unpacked-{number}"
        os.mkdir(target)
        os.sync()
        seconds = seconds_of("tar", "-xf", archive, "-C", target)
        shutil.rmtree(target)
        os.sync()
        return {"unpack": 1 / seconds}

    return once


def run(setting: Setting) -> Row:
    row = Row(9, f"Unpacking {setting.sizes.unpacked_files:,} files into a new directory")
    archive = f"{setting.images.folder}/source.tar"
    make_archive(archive, setting.sizes.unpacked_files)
    with ExitStack() as stack:
        image = stack.enter_context(setting.images.mounted("ext4", 8))
        os.mkdir(f"{image}/plain")
        quiet = stack.enter_context(setting.umbra.share(f"{image}/quiet"))
        kept = stack.enter_context(setting.umbra.share(f"{image}/kept"))
        contenders = {
            WITHOUT: unpacker(archive, quiet.path),
            WITH: unpacker(archive, kept.path, kept),
            PLAIN: unpacker(archive, f"{image}/plain"),
        }
        samples = interleave(setting.sizes.rounds, contenders)
    os.unlink(archive)
    ratio = samples.ratio("unpack", WITH, WITHOUT)
    row.add("snapshots existing, against none", f"{TARGET}x", ratio, ratio.median >= TARGET)
    names = (PLAIN, WITHOUT, WITH)
    times = [f"{1 / samples.median('unpack', name):.2f} s" for name in names]
    row.tables.append(Table("Time, medians", ["", *names], [["tar -xf", *times]]))
    return row

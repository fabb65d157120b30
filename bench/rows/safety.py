"""Row 11: what it costs that no power cut can take anything from a snapshot, on a real disk."""

import os
from contextlib import ExitStack

from bench.commands import seconds_of
from bench.figures import Row, Table
from bench.rounds import interleave
from bench.rows.unpack import make_archive
from bench.setting import Setting
from bench.umbra import Share

TARGET = 0.5
WITHOUT, WITH = "no snapshots", "snapshots exist"
UNPACK = "unpacking 5,000 files into an existing tree"
CHMOD = "chmod -R of 10,000 files"
OVERWRITE = "4 KiB random overwrites"
LOADS = (UNPACK, CHMOD, OVERWRITE)
GRANULE = 16384  # a block of the undo log: every write is a first overwrite


class Loads:
    """One share's folders: one whose directories stay and whose files come and go, one whose modes change, one
    file that is overwritten. With `kept` a snapshot is taken before each load."""

    def __init__(self, setting: Setting, archive: str, share: Share, kept: bool):
        self.setting, self.archive, self.share, self.kept = setting, archive, share, kept
        self.tree, self.modes, self.data = (f"{share.path}/{name}" for name in ("tree", "modes", "data"))
        os.mkdir(self.tree)
        seconds_of("tar", "-xf", archive, "-C", self.tree)
        self.remove_files()
        os.mkdir(self.modes)
        setting.workload.run("make-tree", self.modes, 2 * setting.sizes.unpacked_files, 200)
        setting.workload.run("write-new", self.data, setting.sizes.overwrite_bytes, 1 << 20, 1)
        os.sync()

    def remove_files(self) -> None:
        for folder, _, files in os.walk(self.tree):
            for file in files:
                os.unlink(f"{folder}/{file}")

    def snapshot(self) -> None:
        if self.kept:
            self.share.snapshot()

    def once(self, number: int) -> dict[str, float]:
        files = self.setting.sizes.unpacked_files
        self.snapshot()
        unpacked = files / seconds_of("tar", "-xf", self.archive, "-C", self.tree)
        self.snapshot()
        changed = 2 * files / seconds_of("chmod", "-R", ("0640", "0600")[number % 2], self.modes)
        self.snapshot()
        size = self.setting.sizes.overwrite_bytes
        arguments = (self.data, size, 4096, 1, GRANULE, number)
        overwritten = self.setting.workload.rate("random-rewrite", *arguments, timed="seconds_with_close")
        self.remove_files()
        os.sync()
        return {UNPACK: unpacked, CHMOD: changed, OVERWRITE: overwritten}


def run(setting: Setting) -> Row:
    row = Row(11, "Speed of safety: full power-loss safety, on the machine's own disk")
    archive = f"{setting.images.folder}/source.tar"
    make_archive(archive, setting.sizes.unpacked_files)
    with ExitStack() as stack:
        image = stack.enter_context(setting.images.mounted_on_disk("ext4", 6))
        contenders = {}
        for name, kept in ((WITHOUT, False), (WITH, True)):
            share = stack.enter_context(setting.umbra.share(f"{image}/{int(kept)}"))
            contenders[name] = Loads(setting, archive, share, kept).once
        samples = interleave(setting.sizes.rounds, contenders)
    os.unlink(archive)
    for load in LOADS:
        ratio = samples.ratio(load, WITH, WITHOUT)
        row.add(load, f"{TARGET}x", ratio, ratio.median >= TARGET)
    lines = [[load, *(f"{samples.median(load, name):,.0f}" for name in (WITHOUT, WITH))] for load in LOADS]
    row.tables.append(Table("Files, or writes, a second, medians", ["", WITHOUT, WITH], lines))
    return row

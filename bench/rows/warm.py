"""Row 5: what the kernel has cached, against the plain filesystem."""

import os
import tempfile
from contextlib import ExitStack

from bench.figures import Row, Table, rate
from bench.filesystems import PLAIN, UMBRA
from bench.rounds import interleave
from bench.setting import MIB, Setting

# Its page cache, like that of FUSE, has one entry for each 4 KiB; that of ext4 has larger ones.
SINGLE_PAGES = "tmpfs"
TITLE = "Warm reads and warm stat"
TARGET = 0.9
MEASURES = ["1 MiB read", "4 KiB random read", "stat"]


def prepared(setting: Setting, place: str):
    sizes, workload = setting.sizes, setting.workload
    files, big = f"{place}/files", f"{place}/big"
    os.mkdir(files)
    workload.run("create", files, sizes.small_files, 1024)
    workload.run("write-new", big, sizes.random_file_bytes, MIB, 1)

    workload.run("read", big, sizes.random_file_bytes, MIB, 1)
    workload.run("stat", files, sizes.small_files)

    def once(number: int) -> dict[str, float]:
        return {
            "1 MiB read": workload.rate("read", big, sizes.random_file_bytes, MIB, 1),
            "4 KiB random read": workload.rate(
                "random-read", big, sizes.random_file_bytes, 4096, 1, 4096, number
            ),
            "stat": workload.rate("stat", files, sizes.small_files),
        }

    return once


def run(setting: Setting) -> Row:
    row = Row(5, TITLE)
    with ExitStack() as stack:
        image = stack.enter_context(setting.images.mounted("ext4", 2))
        os.mkdir(f"{image}/plain")
        share = stack.enter_context(setting.umbra.share(f"{image}/share"))
        memory = stack.enter_context(tempfile.TemporaryDirectory(dir=setting.images.folder))
        contenders = {
            PLAIN: prepared(setting, f"{image}/plain"),
            UMBRA: prepared(setting, share.path),
            SINGLE_PAGES: prepared(setting, memory),
        }
        before = share.requests()
        # They are short: more rounds cost nothing.
        samples = interleave(setting.sizes.rounds * 5, contenders)
        asked = sorted(name for name, count in share.requests().items() if count > before.get(name, 0))
    for measure in MEASURES:
        ratio = samples.ratio(measure, UMBRA, PLAIN)
        row.add(f"warm {measure}, against plain", f"{TARGET}x", ratio, ratio.median >= TARGET)
    rows = [[m, *(rate(samples.median(m, name)) for name in (PLAIN, UMBRA, SINGLE_PAGES))] for m in MEASURES]
    row.tables.append(Table("Operations a second, medians", ["", PLAIN, UMBRA, SINGLE_PAGES], rows))
    row.notes.append(
        f"Requests that reached the daemon meanwhile: {', '.join(asked) or 'none'}. What differs is the "
        "kernel's own: the page cache of a FUSE file has one entry for each 4 KiB, as that of a tmpfs "
        "has, and ext4's has larger ones."
    )
    return row

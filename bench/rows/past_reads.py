"""Row 7: reading what has not changed since a snapshot, there and live, with cold caches."""

import os

from bench.figures import Row, Table, rate
from bench.machine import drop_caches
from bench.rounds import interleave
from bench.setting import MIB, Setting

TITLE = "Reading an unchanged file in a snapshot, cold"
TARGET = 0.8
LIVE, PAST = "live", "in the snapshot"
BIG, SMALL = "1 MiB reads of a large file", "open-read of small files"


def reader(setting: Setting, place: str):
    def once(_number: int) -> dict[str, float]:
        drop_caches()
        size = setting.sizes.sequential_bytes
        big = setting.workload.rate("read", f"{place}/big", size, MIB, 1)
        drop_caches()
        small = setting.workload.rate("open-read", f"{place}/files", setting.sizes.small_files)
        return {BIG: big, SMALL: small}

    return once


def run(setting: Setting) -> Row:
    row = Row(7, TITLE)
    with setting.images.mounted("ext4", 2) as image, setting.umbra.share(f"{image}/share") as share:
        os.mkdir(f"{share.path}/files")
        setting.workload.run("create", f"{share.path}/files", setting.sizes.small_files, 4000)
        setting.workload.run("write-new", f"{share.path}/big", setting.sizes.sequential_bytes, MIB, 1)
        past = share.in_snapshot(share.snapshot())
        contenders = {LIVE: reader(setting, share.path), PAST: reader(setting, past)}
        samples = interleave(setting.sizes.rounds, contenders)
    for measure in (BIG, SMALL):
        ratio = samples.ratio(measure, PAST, LIVE)
        row.add(f"{measure}, against live", f"{TARGET}x", ratio, ratio.median >= TARGET)
    rows = [[m, *(rate(samples.median(m, name)) for name in (LIVE, PAST))] for m in (BIG, SMALL)]
    row.tables.append(Table("Operations a second, medians", ["", LIVE, PAST], rows))
    return row

"""Row 8: ls -lR of a large tree in a snapshot and live."""

from bench.commands import seconds_of
from bench.figures import Row, Table
from bench.machine import drop_caches
from bench.rounds import interleave
from bench.setting import Setting

TARGET = 0.5
LIVE, PAST = "live", "in the snapshot"
COLD, AGAIN = "cold", "again at once"


def lister(path: str):
    def once(_number: int) -> dict[str, float]:
        drop_caches()
        return {COLD: 1 / seconds_of("ls", "-lR", path), AGAIN: 1 / seconds_of("ls", "-lR", path)}

    return once


def run(setting: Setting) -> Row:
    tree = setting.trees()[1]
    row = Row(8, f"ls -lR of {tree.files:,} files in a snapshot")
    token = tree.share.snapshot()
    # One in a hundred has changed since.
    setting.workload.run("change-tree", tree.share.path, tree.files, tree.files // 100, 8)
    contenders = {LIVE: lister(tree.share.path), PAST: lister(tree.share.in_snapshot(token))}
    samples = interleave(max(3, setting.sizes.rounds // 2), contenders)
    for measure in (COLD, AGAIN):
        ratio = samples.ratio(measure, PAST, LIVE)
        row.add(f"{measure}, against the live tree", f"{TARGET}x", ratio, ratio.median >= TARGET)
    rows = [
        [m, *(f"{1 / samples.median(m, name):.2f} s" for name in (LIVE, PAST))] for m in (COLD, AGAIN)
    ]
    row.tables.append(Table("Time, medians", ["", LIVE, PAST], rows))
    tree.share.delete_snapshots(token)
    return row

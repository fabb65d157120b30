"""Row 10: deleting a snapshot takes as long as what changed in it, whatever the size of the share."""

from bench.figures import Row, Table, milliseconds
from bench.rounds import Samples, interleave
from bench.setting import Setting, Tree

TITLE = "Deleting a snapshot"
SIZE_TARGET, GROWTH_TARGET = 1.5, 1.5


def deleter(setting: Setting, tree: Tree, changed: int):
    def once(number: int) -> dict[str, float]:
        token = tree.share.snapshot()
        setting.workload.run("change-tree", tree.share.path, tree.files, changed, number)
        # Not the newest: what is kept for it must be told from what is kept for the next.
        next_token = tree.share.snapshot()
        seconds = tree.share.control.timed_call("snapshot.delete", {"names": [token]})[1]
        tree.share.delete_snapshots(next_token)
        return {"delete": seconds}

    return once


def run(setting: Setting) -> Row:
    row = Row(10, TITLE)
    sizes, trees = setting.sizes, setting.trees()
    by_size = interleave(
        sizes.rounds, {f"{tree.files:,}": deleter(setting, tree, sizes.changed_fixed) for tree in trees}
    )
    by_change = interleave(
        sizes.rounds, {f"{changed:,}": deleter(setting, trees[1], changed) for changed in sizes.changed_growing}
    )
    judge_size(row, by_size, [f"{tree.files:,}" for tree in trees], sizes.changed_fixed)
    judge_growth(row, by_change, sizes.changed_growing, trees[1].files)
    return row


def judge_size(row: Row, samples: Samples, names: list[str], changed: int) -> None:
    medians = {name: samples.median("delete", name) for name in names}
    ratio = medians[names[-1]] / medians[names[0]]
    row.add(
        f"{changed:,} files changed: share of {names[-1]} files against {names[0]}",
        f"at most {SIZE_TARGET}x",
        f"{ratio:.2f}x",
        ratio <= SIZE_TARGET,
    )
    rows = [[name, milliseconds(seconds)] for name, seconds in medians.items()]
    title = f"{changed:,} files changed, by the size of the share (medians)"
    row.tables.append(Table(title, ["files in the share", "time to delete"], rows))
    row.plots["by_size"] = {int(name.replace(",", "")): seconds for name, seconds in medians.items()}


def judge_growth(row: Row, samples: Samples, changes: tuple[int, ...], files: int) -> None:
    medians = {changed: samples.median("delete", f"{changed:,}") for changed in changes}
    most, less = changes[-1], changes[-2]
    growth = (medians[most] / most) / (medians[less] / less)
    row.add(
        f"time for each changed file: {most:,} changed against {less:,}",
        f"at most {GROWTH_TARGET}x",
        f"{growth:.2f}x",
        growth <= GROWTH_TARGET,
    )
    rows = [
        [f"{changed:,}", milliseconds(seconds), f"{seconds / changed * 1e6:.0f} us"]
        for changed, seconds in medians.items()
    ]
    header = ["files changed", "time to delete", "for each changed file"]
    row.tables.append(Table(f"By what changed, in the share of {files:,} files (medians)", header, rows))
    row.plots["by_change"] = medians

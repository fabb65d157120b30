"""Row 1: taking a snapshot of a small and of a large share, one file changed since the last."""

import os

from bench.btrfs import Subvolume
from bench.figures import Row, Table, milliseconds
from bench.rounds import Samples, interleave
from bench.setting import Setting, Tree

TITLE = "Taking a snapshot, whatever the size of the share"
RATIO_TARGET, SECONDS_TARGET = 1.5, 0.020
DAEMON, COMMAND = "the daemon's answer", "umbra snapshot create, the whole process"
SYSTEM_CALL, BTRFS_COMMAND = "btrfs: the system call", "btrfs subvolume snapshot, the whole process"


def change_one(path: str, number: int) -> None:
    with open(f"{path}/d00000/f{number % 100:03}", "r+b", buffering=0) as file:
        file.write(b"%08d" % number)


def umbra_creator(tree: Tree, by_command: bool):
    def once(number: int) -> dict[str, float]:
        change_one(tree.share.path, number)
        if by_command:
            return {COMMAND: tree.share.snapshot_by_command()}
        return {DAEMON: tree.share.control.timed_call("snapshot.create")[1]}

    return once


def btrfs_creator(subvolume: Subvolume, by_command: bool):
    def once(number: int) -> dict[str, float]:
        change_one(subvolume.path, number)
        if by_command:
            return {BTRFS_COMMAND: subvolume.snapshot_by_command()}
        return {SYSTEM_CALL: subvolume.timed_snapshot()[1]}

    return once


def measure_umbra(setting: Setting, small: Tree, large: Tree) -> Samples:
    samples = Samples()
    for by_command in (False, True):
        rounds = setting.sizes.command_creates if by_command else setting.sizes.snapshot_creates
        contenders = {
            files_text(tree.files): umbra_creator(tree, by_command) for tree in (small, large)
        }
        samples.values.update(interleave(rounds, contenders).values)
    return samples


def measure_btrfs(setting: Setting, counts: tuple[int, int]) -> Samples:
    samples = Samples()
    with setting.images.mounted("btrfs", 14) as image:
        subvolumes = {}
        for files in counts:
            subvolume = Subvolume.made(f"{image}/{files}-files")
            setting.workload.run("make-tree", subvolume.path, files, 200)
            subvolumes[files_text(files)] = subvolume
        os.sync()
        for by_command in (False, True):
            contenders = {
                name: btrfs_creator(subvolume, by_command) for name, subvolume in subvolumes.items()
            }
            rounds = setting.sizes.command_creates
            samples.values.update(interleave(rounds, contenders).values)
    return samples


def files_text(count: int) -> str:
    return f"{count:,} files"


def run(setting: Setting) -> Row:
    row = Row(1, TITLE)
    trees = setting.trees()
    small, large = trees[0], trees[-1]
    umbra = measure_umbra(setting, small, large)
    btrfs = measure_btrfs(setting, (small.files, large.files))
    names = [files_text(tree.files) for tree in (small, large)]
    for measure in (DAEMON, COMMAND):
        ratio = umbra.median(measure, names[1]) / umbra.median(measure, names[0])
        seconds = umbra.median(measure, names[1])
        row.add(
            f"{measure}: {names[1]} against {names[0]}",
            f"at most {RATIO_TARGET}x",
            f"{ratio:.2f}x",
            ratio <= RATIO_TARGET,
        )
        row.add(
            f"{measure}: {names[1]}",
            f"at most {SECONDS_TARGET * 1e3:.0f} ms",
            milliseconds(seconds),
            seconds <= SECONDS_TARGET,
        )
    rows = []
    for samples in (umbra, btrfs):
        for measure in samples.measures():
            rows.append([measure, *(milliseconds(samples.median(measure, name)) for name in names)])
    row.tables.append(Table("Time, medians", ["", *names], rows))
    row.plots["create"] = {
        measure: [samples.median(measure, name) for name in names]
        for samples in (umbra, btrfs)
        for measure in samples.measures()
    }
    row.plots["create_files"] = [small.files, large.files]
    return row

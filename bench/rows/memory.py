"""Row 2: what the daemon has grown to when every file of a large share was listed, looked at and read."""

from bench.commands import seconds_of
from bench.figures import Row, Table, mebibytes
from bench.setting import MIB, Setting

SNAPSHOTS = 64
RESIDENT_TARGET, DESCRIPTORS_TARGET = 256 * MIB, 4096
CHANGED_BETWEEN = 20


def run(setting: Setting) -> Row:
    tree = setting.trees()[-1]
    share = tree.share
    row = Row(2, f"The daemon's memory after find, stat and reading {tree.files:,} files")
    for number in range(SNAPSHOTS):
        setting.workload.run("change-tree", share.path, tree.files, CHANGED_BETWEEN, number)
        share.snapshot()
    steps = []

    def note(step: str, seconds: float) -> None:
        steps.append(
            [
                step,
                f"{seconds:.1f} s",
                mebibytes(share.resident_bytes()),
                str(share.open_descriptors()),
                f"{share.control.call('status')['known_nodes']:,}",
            ]
        )

    note(f"{SNAPSHOTS} snapshots taken", 0)
    note("find", seconds_of("find", share.path))
    note("find -size, which looks at every file", seconds_of("find", share.path, "-size", "+1M"))
    note("every file read", setting.workload.run("read-tree", share.path, tree.files, 2)["seconds"])
    resident, peak = share.resident_bytes(), share.peak_resident_bytes()
    descriptors = share.open_descriptors()
    row.add(
        "resident memory", f"at most {mebibytes(RESIDENT_TARGET)}", mebibytes(resident), resident <= RESIDENT_TARGET
    )
    row.add("the most it ever was", "", mebibytes(peak), None)
    row.add(
        "open descriptors", f"at most {DESCRIPTORS_TARGET:,}", f"{descriptors:,}", descriptors <= DESCRIPTORS_TARGET
    )
    header = ["after", "took", "resident", "descriptors", "inodes the kernel knows"]
    row.tables.append(Table("Step by step", header, steps))
    return row

"""Row 6: overwriting blocks that a snapshot needs (first), and again (later), against the same writes in
a share without snapshots."""

import os
from contextlib import ExitStack, contextmanager
from typing import Iterator

from bench.btrfs import Subvolume
from bench.figures import Row, Table, rate
from bench.rounds import Samples, interleave
from bench.setting import MIB, Setting
from bench.umbra import Share

TITLE = "First and later overwrites of a block after a snapshot"
TARGETS = {"first": 0.4, "later": 0.9}
WITHOUT, FIRST, LATER = "no snapshot", "first", "later"
# A block of the undo log: within one of them only the first write is a first overwrite.
GRANULE = 16384
LOADS = {
    "4 KiB random, 1 writer": ("random-rewrite", 4096, 1),
    "4 KiB random, 4 writers": ("random-rewrite", 4096, 4),
    "1 MiB sequential, 1 writer": ("rewrite", MIB, 1),
    "1 MiB sequential, 4 writers": ("rewrite", MIB, 4),
}


SMALLEST = "4 KiB random, 1 writer"


def one_pass(setting: Setting, place: str, load: str, seed: int) -> float:
    kind, block, threads = LOADS[load]
    scatter = (GRANULE, seed) if kind == "random-rewrite" else ()
    size = setting.sizes.overwrite_bytes
    arguments = (f"{place}/data-{threads}", size, block, threads, *scatter)
    return setting.workload.rate(kind, *arguments, timed="seconds_with_close")


def prepare(setting: Setting, place: str) -> None:
    for threads in (1, 4):
        setting.workload.run("write-new", f"{place}/data-{threads}", setting.sizes.overwrite_bytes, MIB, threads)
    os.sync()


def passes(setting: Setting, place: str, load: str, snapshot, drop):
    """A contender that takes a snapshot and writes twice. Without `snapshot` it only writes."""

    def without(number: int) -> dict[str, float]:
        return {load: one_pass(setting, place, load, number)}

    def first_and_later(number: int) -> dict[str, float]:
        taken = snapshot()
        first = one_pass(setting, place, load, number)
        later = one_pass(setting, place, load, number + 1000)
        drop(taken)
        return {f"{load} {FIRST}": first, f"{load} {LATER}": later}

    return first_and_later if snapshot else without


@contextmanager
def apart(*daemons: int) -> Iterator[None]:
    """Keeps these daemons on the last processor, and what is started here off it."""
    processors = sorted(os.sched_getaffinity(0))
    for daemon in daemons:
        for thread in os.listdir(f"/proc/{daemon}/task"):
            os.sched_setaffinity(int(thread), processors[-1:])
    os.sched_setaffinity(0, processors[:-1] or processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def compare(setting: Setting, quiet: str, kept: str, snapshot, drop, loads=tuple(LOADS)) -> dict[str, Samples]:
    results = {}
    for load in loads:
        contenders = {
            WITHOUT: passes(setting, quiet, load, None, None),
            FIRST: passes(setting, kept, load, snapshot, drop),
        }
        results[load] = interleave(setting.sizes.rounds, contenders)
    return results


def ratio(samples: Samples, load: str, which: str):
    merged = Samples()
    for contender, measure in ((WITHOUT, load), (FIRST, f"{load} {which}")):
        for value in samples.all(measure, contender):
            merged.add(which, contender, value)
    return merged.ratio(which, FIRST, WITHOUT)


def measure_umbra(setting: Setting) -> tuple[dict[str, Samples], Samples]:
    """As it comes, and the smallest load once more with writer and daemon on processors of their own."""
    with ExitStack() as stack:
        image = stack.enter_context(setting.images.mounted("ext4", 8))
        quiet = stack.enter_context(setting.umbra.share(f"{image}/quiet"))
        kept: Share = stack.enter_context(setting.umbra.share(f"{image}/kept"))
        for share in (quiet, kept):
            prepare(setting, share.path)
        shares = (quiet.path, kept.path, kept.snapshot, kept.delete_snapshots)
        results = compare(setting, *shares)
        with apart(quiet.pid, kept.pid):
            return results, compare(setting, *shares, loads=(SMALLEST,))[SMALLEST]


def measure_btrfs(setting: Setting) -> dict[str, Samples]:
    with setting.images.mounted("btrfs", 8) as image:
        quiet, kept = Subvolume.made(f"{image}/quiet"), Subvolume.made(f"{image}/kept")
        for subvolume in (quiet, kept):
            prepare(setting, subvolume.path)
        return compare(setting, quiet.path, kept.path, kept.snapshot, kept.delete_snapshot)


def run(setting: Setting) -> Row:
    row = Row(6, TITLE)
    (umbra, umbra_apart), btrfs = measure_umbra(setting), measure_btrfs(setting)
    details = []
    for load in LOADS:
        for which, target in TARGETS.items():
            reached = ratio(umbra[load], load, which)
            row.add(f"{load}: {which} overwrite", f"{target}x", reached, reached.median >= target)
        details.append(
            [
                load,
                rate(umbra[load].median(load, WITHOUT)),
                rate(umbra[load].median(f"{load} {FIRST}", FIRST)),
                rate(umbra[load].median(f"{load} {LATER}", FIRST)),
                *(str(ratio(btrfs[load], load, which)) for which in TARGETS),
            ]
        )
    header = ["writes a second", "no snapshot", "first", "later"]
    header += ["btrfs, for comparison: first", "btrfs: later"]
    row.tables.append(Table("Medians; for btrfs the ratio to its own writes", header, details))
    lines = [[which, str(ratio(umbra_apart, SMALLEST, which))] for which in TARGETS]
    title = (
        f"{SMALLEST}, with the writer on one processor and the daemon on the other, against no snapshot. Where the "
        "scheduler puts the two makes one such write up to twice as dear as another, which the figures above contain"
    )
    row.tables.append(Table(title, ["", "ratio"], lines))
    row.plots["overwrite"] = {
        load: {which: ratio(umbra[load], load, which).median for which in TARGETS} for load in LOADS
    }
    return row

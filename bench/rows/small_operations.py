"""Row 3: one directory passed through, no snapshot, against the other FUSE filesystems."""

import os
from contextlib import ExitStack

from bench.figures import Row, Table, rate
from bench.filesystems import BINDFS, PEERS, PLAIN, UMBRA, WRITEBACK, peer
from bench.machine import drop_caches
from bench.rounds import Samples, interleave
from bench.setting import MIB, Setting

TITLE = "No snapshot: small files, random rewrite, sequential read and write"
BLOCK = 4096

CREATE, STAT, READ, RENAME, CHMOD, UNLINK = (
    "create",
    "stat",
    "open-read",
    "rename",
    "chmod",
    "unlink",
)
REWRITE, WRITE_1M, READ_1M = "4 KiB random rewrite", "1 MiB write", "1 MiB read"
MEASURES = [CREATE, STAT, READ, RENAME, CHMOD, UNLINK, REWRITE, WRITE_1M, READ_1M]
# Of Umbra's rate to bindfs's.
AGAINST_BINDFS = {CREATE: 1.5, REWRITE: 1.5}
WRITEBACK_AGAINST_BINDFS = 5.0


def small_files(setting: Setting, place: str, number: int) -> dict[str, float]:
    """Each operation on every file; names and contents are cold for those that only look."""
    count, rate_of = setting.sizes.small_files, setting.workload.rate
    directory = f"{place}/files-{number}"
    os.mkdir(directory)
    rates = {CREATE: rate_of("create", directory, count, 1024)}
    drop_caches()
    rates[STAT] = rate_of("stat", directory, count)
    drop_caches()
    rates[READ] = rate_of("open-read", directory, count)
    rates[RENAME] = rate_of("rename", directory, count)
    setting.workload.run("rename-back", directory, count)
    rates[CHMOD] = rate_of("chmod", directory, count, "600")
    rates[UNLINK] = rate_of("unlink", directory, count)
    os.rmdir(directory)
    return rates


def random_rewrite(setting: Setting, place: str, number: int) -> dict[str, float]:
    """Of a file that exists, 4 KiB at a time, each block at most once; the last close included."""
    size = setting.sizes.random_file_bytes
    stride = size // setting.sizes.random_writes
    arguments = (f"{place}/random", size, BLOCK, 1, stride, number)
    return {REWRITE: setting.workload.rate("random-rewrite", *arguments, timed="seconds_with_close")}


def sequential(setting: Setting, place: str, _number: int) -> dict[str, float]:
    """Into a new file, the close included; and back with cold caches."""
    file, size = f"{place}/sequential", setting.sizes.sequential_bytes
    rate_of = setting.workload.rate
    rates = {WRITE_1M: rate_of("write-new", file, size, MIB, 1, timed="seconds_with_close")}
    drop_caches()
    rates[READ_1M] = rate_of("read", file, size, MIB, 1)
    os.unlink(f"{file}.0")
    os.sync()
    return rates


def everything(setting: Setting, place: str):
    prepare(setting, place)
    return lambda number: {
        **small_files(setting, place, number),
        **random_rewrite(setting, place, number),
        **sequential(setting, place, number),
    }


def only_rewrite(setting: Setting, place: str):
    prepare(setting, place)
    return lambda number: random_rewrite(setting, place, number)


def prepare(setting: Setting, place: str) -> None:
    setting.workload.run("write-new", f"{place}/random", setting.sizes.random_file_bytes, MIB, 1)


def measure(setting: Setting) -> Samples:
    with ExitStack() as stack:
        image = stack.enter_context(setting.images.mounted("ext4", 8))
        os.mkdir(f"{image}/plain")
        contenders = {PLAIN: everything(setting, f"{image}/plain")}
        for name in PEERS:
            contenders[name] = everything(setting, stack.enter_context(peer(name, image)))
        share = stack.enter_context(setting.umbra.share(f"{image}/umbra"))
        contenders[UMBRA] = everything(setting, share.path)
        share = stack.enter_context(setting.umbra.share(f"{image}/umbra-writeback", "writeback"))
        contenders[WRITEBACK] = only_rewrite(setting, share.path)
        return interleave(setting.sizes.rounds, contenders)


def run(setting: Setting) -> Row:
    row = Row(3, TITLE)
    samples = measure(setting)
    for measured in MEASURES:
        best = max(PEERS, key=lambda name: samples.median(measured, name))
        ratio = samples.ratio(measured, UMBRA, best)
        row.add(f"{measured}, against the best peer ({best})", "1.0x", ratio, ratio.median >= 1.0)
        if measured in AGAINST_BINDFS:
            target = AGAINST_BINDFS[measured]
            ratio = samples.ratio(measured, UMBRA, BINDFS)
            row.add(f"{measured}, against bindfs", f"{target}x", ratio, ratio.median >= target)
    ratio = samples.ratio(REWRITE, WRITEBACK, BINDFS)
    row.add(
        f"{REWRITE} with -o writeback, against bindfs",
        f"{WRITEBACK_AGAINST_BINDFS}x",
        ratio,
        ratio.median >= WRITEBACK_AGAINST_BINDFS,
    )
    row.tables.append(rates_table(samples))
    row.plots["relative"] = relative_to_plain(samples)
    return row


def rates_table(samples: Samples) -> Table:
    contenders = [PLAIN, UMBRA, WRITEBACK, *PEERS]
    rows = [
        [
            measured,
            *(
                rate(samples.median(measured, name)) if samples.has(measured, name) else ""
                for name in contenders
            ),
        ]
        for measured in MEASURES
    ]
    return Table("Operations a second (1 MiB operations: MiB/s), medians", ["", *contenders], rows)


def relative_to_plain(samples: Samples) -> dict[str, dict[str, float]]:
    return {
        measured: {
            name: samples.median(measured, name) / samples.median(measured, PLAIN)
            for name in [UMBRA, *PEERS]
        }
        for measured in MEASURES
    }

"""Row 12: taking a snapshot, changing files and deleting a snapshot, over and over: it stays as fast as it was."""

import os
import statistics
import time

from bench.figures import Row, Table, milliseconds
from bench.setting import MIB, Setting

TITLE = "Create, change and delete by the thousand"
TARGET = 1.2
KEPT, FILE_BYTES, PIECE = 4, MIB, 32 << 10


def change(path: str, number: int) -> None:
    piece = os.urandom(PIECE)
    with open(f"{path}/data", "r+b", buffering=0) as file:
        file.seek(number * 7 % (FILE_BYTES // PIECE) * PIECE)
        file.write(piece)
    name = f"{path}/turn{number % 3}"
    if os.path.exists(name):
        os.unlink(name)
    with open(name, "wb") as file:
        file.write(piece[:10_000])
    os.chmod(f"{path}/data", 0o600 if number % 2 else 0o644)


def state(share) -> tuple[int, int]:
    """Resident memory of the daemon, and what history takes on disk."""
    return share.resident_bytes(), share.control.call("storage.show")["used_bytes"]


def run(setting: Setting) -> Row:
    cycles = setting.sizes.cycles
    part = cycles // 10
    row = Row(12, TITLE)
    seconds, states, kept = [], [], []
    with setting.images.mounted("ext4", 1) as image, setting.umbra.share(f"{image}/share") as share:
        with open(f"{share.path}/data", "wb") as file:
            file.write(os.urandom(FILE_BYTES))
        for number in range(cycles):
            began = time.perf_counter()
            kept.append(share.snapshot())
            change(share.path, number)
            if len(kept) > KEPT:
                share.delete_snapshots(kept.pop(number % KEPT))
            seconds.append(time.perf_counter() - began)
            if number + 1 in (part, cycles):
                states.append(state(share))
    first, last = statistics.median(seconds[:part]), statistics.median(seconds[-part:])
    row.add(
        f"time for a cycle, the last {part:,} of {cycles:,} against the first",
        f"at most {TARGET}x",
        f"{last / first:.2f}x",
        last / first <= TARGET,
    )
    rows = [
        [name, milliseconds(median), f"{memory / MIB:.1f} MiB", f"{used / MIB:.2f} MiB"]
        for name, median, (memory, used) in zip(("first", "last"), (first, last), states, strict=True)
    ]
    title = f"{KEPT} snapshots at any time (medians; memory and space at the end)"
    row.tables.append(Table(title, [f"{part:,} cycles", "a cycle", "resident", "history"], rows))
    return row

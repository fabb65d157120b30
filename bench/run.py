"""The comparison behind docs/benchmarks.md. Started by scripts/bench, as root, in namespaces of its own for
mounts and processes: when this process ends, everything it has started or mounted is gone."""

import argparse
import datetime
import os
import shlex
import signal
import sys
import time
import traceback

from bench import machine, report
from bench.commands import Workload, run
from bench.figures import Row
from bench.images import Images
from bench.rows import (
    cycles,
    listing,
    memory,
    overwrite,
    past_reads,
    requests,
    safety,
    samba_share,
    small_operations,
    snapshot_create,
    snapshot_delete,
    unpack,
    warm,
)
from bench.setting import FULL, QUICK, Setting
from bench.umbra import Umbra

ROWS = {
    1: snapshot_create,
    2: memory,
    3: small_operations,
    4: requests,
    5: warm,
    6: overwrite,
    7: past_reads,
    8: listing,
    9: unpack,
    10: snapshot_delete,
    11: safety,
    12: cycles,
    13: samba_share,
}
# Those that need the large trees come last; the memory before snapshots by the hundred exist.
ORDER = (4, 3, 5, 6, 7, 9, 13, 11, 12, 2, 1, 8, 10)
QUICK_WARNING = "QUICK RUN: sizes too small for figures; it only shows that the script works"
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Compares Umbra with the plain filesystem, with other FUSE filesystems and with btrfs. "
        "Takes about a quarter of an hour; nothing else should be running.",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: to check that everything runs")
    parser.add_argument(
        "--only", type=int, action="append", choices=sorted(ROWS), metavar="ROW",
        help="only this row of the table, 1 to 13; may be repeated",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and its plot")
    parser.add_argument("--programs", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--write needs every row, measured in one run: leave --only away")
    return options


def measure(setting: Setting, number: int) -> Row:
    """A row that fails is shown as failed and does not hide the others."""
    began = time.monotonic()
    try:
        row = ROWS[number].run(setting)
    except Exception as error:
        traceback.print_exc()
        row = Row(number, getattr(ROWS[number], "TITLE", ROWS[number].__name__), failure=str(error))
    row.seconds = time.monotonic() - began
    report.print_row(row)
    return row


def measure_all(options: argparse.Namespace) -> list[Row]:
    setting = Setting(
        QUICK if options.quick else FULL,
        Images(options.folder),
        Umbra(f"{options.programs}/umbra"),
        Workload(f"{options.programs}/umbra-bench-workload"),
    )
    chosen = [number for number in ORDER if not options.only or number in options.only]
    try:
        rows = [measure(setting, number) for number in chosen]
    finally:
        setting.close()
    return sorted(rows, key=lambda row: row.number)


def run_facts(options: argparse.Namespace, load_before: float, minutes: float) -> list[str]:
    command = "scripts/bench" + "".join(f" {shlex.quote(word)}" for word in shown_arguments(options))
    facts = [f"`{command}`, {datetime.date.today().isoformat()}, {minutes:.0f} minutes"]
    facts += machine.facts()
    facts.append(f"processes running before it began: {load_before:.1f} a core (mean of one minute)")
    if options.quick:
        facts.append(f"**{QUICK_WARNING}**")
    return facts


def shown_arguments(options: argparse.Namespace) -> list[str]:
    words = ["--quick"] * options.quick + ["--write"] * options.write
    return words + [f"--only={number}" for number in options.only or []]


def prepare_namespace(folder: str) -> None:
    """In here only: memory for the images, and a /run of our own, so that no entry of ours stays in it."""
    run("mount", "-t", "tmpfs", "-o", "size=85%", "umbra-bench", folder)
    run("mount", "-t", "tmpfs", "umbra-bench-run", "/run")


def stop(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = parse_arguments()
    if not options.programs or not options.folder or os.getpid() != 1:
        sys.exit("run scripts/bench: it builds what is measured and makes the namespaces for it")
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    load_before = machine.busy_share()
    began = time.monotonic()
    prepare_namespace(options.folder)
    try:
        rows = measure_all(options)
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    facts = run_facts(options, load_before, (time.monotonic() - began) / 60)
    print("\n" + "\n".join(facts))
    print(f"\n{report.count_reached(rows)}")
    if options.write:
        from bench import plot

        report.write_document(f"{ROOT}/docs/benchmarks.md", rows, facts)
        plot.draw(f"{ROOT}/docs/benchmarks.svg", rows)
        print("written: docs/benchmarks.md, docs/benchmarks.svg")
    return 1 if any(row.failure for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Running programs: quiet when they succeed, saying everything when they do not."""

import json
import os
import subprocess
import time


class CommandFailed(Exception):
    pass


def run(*command: object, timeout: float = 900) -> str:
    """Runs a command and returns what it printed; CommandFailed with its output when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as expired:
        raise CommandFailed(f"'{' '.join(words)}' did not end within {timeout:.0f} s") from expired
    if done.returncode != 0:
        output = (done.stdout + done.stderr).strip()
        raise CommandFailed(f"'{' '.join(words)}' failed ({done.returncode}): {output}")
    return done.stdout


def seconds_of(*command: object) -> float:
    """How long a program takes whose output nobody reads."""
    with open(os.devnull, "r+b") as null:
        began = time.perf_counter()
        done = subprocess.run(
            [str(word) for word in command], stdin=null, stdout=null, stderr=subprocess.PIPE, timeout=900
        )
        taken = time.perf_counter() - began
    if done.returncode != 0:
        raise CommandFailed(f"{command}: {done.stderr.decode(errors='replace').strip()}")
    return taken


class Workload:
    """The driver that times loads without an interpreter's overhead."""

    def __init__(self, program: str):
        self.program = program

    def run(self, load: str, *arguments: object) -> dict[str, float]:
        return json.loads(run(self.program, load, *arguments))

    def rate(self, load: str, *arguments: object, timed: str = "seconds") -> float:
        """Operations a second."""
        report = self.run(load, *arguments)
        return report["operations"] / report[timed]

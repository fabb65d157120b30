"""Umbra itself: shares, and their daemons spoken to directly and through the command line."""

import json
import os
import socket
import time
from contextlib import contextmanager
from typing import Iterator

from bench.commands import run, seconds_of


class Share:
    """A mounted share."""

    def __init__(self, program: str, path: str):
        self.program = program
        self.path = path
        status = self.status()
        self.pid = status["pid"]
        self.control = Control(f"/run/umbra/{status['uuid']}.sock")

    def status(self) -> dict:
        return json.loads(run(self.program, "status", self.path, "--json"))

    def requests(self) -> dict[str, int]:
        return self.control.call("status")["requests"]

    def snapshot(self) -> str:
        """Takes one and returns its token."""
        return self.control.call("snapshot.create")["token"]

    def snapshot_by_command(self) -> float:
        """Seconds that `umbra snapshot create` takes, the start of its process included."""
        return seconds_of(self.program, "snapshot", "create", self.path)

    def delete_snapshots(self, *tokens: str) -> None:
        result = self.control.call("snapshot.delete", {"names": list(tokens)})
        if result["failed"]:
            raise RuntimeError(f"snapshots were not deleted: {result['failed']}")

    def in_snapshot(self, token: str, path: str = "") -> str:
        return f"{self.path}/.snapshots/{token}/{path}".rstrip("/")

    def resident_bytes(self) -> int:
        return self._status_kib("VmRSS") << 10

    def peak_resident_bytes(self) -> int:
        return self._status_kib("VmHWM") << 10

    def _status_kib(self, field: str) -> int:
        with open(f"/proc/{self.pid}/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

    def open_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Control:
    """A connection to a daemon's control socket."""

    def __init__(self, path: str):
        self.path = path

    def call(self, method: str, parameters: dict | None = None) -> dict:
        return self.timed_call(method, parameters)[0]

    def timed_call(self, method: str, parameters: dict | None = None) -> tuple[dict, float]:
        """The result, and the seconds from connecting to having the whole answer."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters or {}}
        line = json.dumps(request).encode() + b"\n"
        began = time.perf_counter()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(self.path)
            connection.sendall(line)
            answer = b""
            while not answer.endswith(b"\n"):
                received = connection.recv(1 << 16)
                if not received:
                    raise RuntimeError(f"the daemon ended the connection at {method}")
                answer += received
        seconds = time.perf_counter() - began
        reply = json.loads(answer)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']['message']}")
        return reply["result"], seconds


class Umbra:
    def __init__(self, program: str):
        self.program = program

    @contextmanager
    def share(self, path: str, options: str = "") -> Iterator[Share]:
        """Mounts the folder, made if it is missing, in place."""
        os.makedirs(path, exist_ok=True)
        run(self.program, "mount", path, *(["-o", options] if options else []))
        try:
            yield Share(self.program, path)
        finally:
            run(self.program, "umount", path)

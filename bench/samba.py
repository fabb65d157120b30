"""Debian's smbd on loopback, with configuration, user and state of its own, and its client."""

import os
import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import Iterator

from bench.commands import CommandFailed, run

PASSWORD = "umbra-bench"
PARTS = ("private", "state", "lock", "cache", "pid", "ncalrpc", "winbindd")


def without_versions(section: str, name: str, path: str) -> str:
    """The same share without what shows previous versions, for a folder that has none."""
    lines = []
    for line in section.splitlines():
        key = line.split("=")[0].strip()
        if key.startswith(("shadow:", "shell_snap:")):
            continue
        if line.strip().startswith("["):
            line = f"[{name}]"
        elif key == "path":
            line = f"    path = {path}"
        elif key == "vfs objects":
            objects = [word for word in line.split("=")[1].split() if word not in ("shadow_copy2", "shell_snap")]
            line = f"    vfs objects = {' '.join(objects)}"
        lines.append(line)
    return "\n".join(lines)


def global_section(folder: str, port: int) -> str:
    places = {
        "private dir": "private",
        "state directory": "state",
        "lock directory": "lock",
        "cache directory": "cache",
        "pid directory": "pid",
        "ncalrpc dir": "ncalrpc",
        "winbindd socket directory": "winbindd",
        "log file": "log.%m",
    }
    lines = ["[global]", "    workgroup = UMBRA", "    server role = standalone", "    passdb backend = tdbsam"]
    lines += [f"    {key} = {folder}/{place}" for key, place in places.items()]
    lines += [
        "    interfaces = 127.0.0.1",
        "    bind interfaces only = yes",
        f"    smb ports = {port}",
        "    disable netbios = yes",
        "    disable spoolss = yes",
        "    load printers = no",
        "    usershare max shares = 0",
        "    map to guest = never",
    ]
    return "\n".join(lines)


class Client:
    def __init__(self, config: str, port: int, share: str):
        self.command = [
            "smbclient", f"//127.0.0.1/{share}", "-p", str(port), "-s", config,
            "-U", f"root%{PASSWORD}", "-m", "SMB3",
        ]  # fmt: skip

    def start(self, commands: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*self.command, "-c", commands], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, commands: str) -> None:
        self.finish(self.start(commands))

    @staticmethod
    def finish(process: subprocess.Popen) -> None:
        said = process.communicate(timeout=900)[0]
        if process.returncode != 0 or "NT_STATUS_" in said:
            raise CommandFailed(f"smbclient failed ({process.returncode}): {said[-2000:]}")


class Server:
    def __init__(self, folder: str, port: int):
        self.config = f"{folder}/smb.conf"
        self.port = port

    def client(self, share: str) -> Client:
        return Client(self.config, self.port, share)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until_it_answers(port: int) -> None:
    for _ in range(600):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise CommandFailed("smbd does not answer")


@contextmanager
def serving(folder: str, sections: list[str]) -> Iterator[Server]:
    for part in PARTS:
        os.makedirs(f"{folder}/{part}")
    port = free_port()
    with open(f"{folder}/smb.conf", "w") as config:
        config.write("\n\n".join([global_section(folder, port), *sections]) + "\n")
    subprocess.run(
        ["smbpasswd", "-c", f"{folder}/smb.conf", "-L", "-a", "-s", "root"],
        input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True,
    )  # fmt: skip
    smbd = subprocess.Popen(
        ["smbd", "--foreground", "--configfile", f"{folder}/smb.conf"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until_it_answers(port)
        yield Server(folder, port)
    finally:
        # Its children are in its process group, which it makes itself.
        os.killpg(smbd.pid, signal.SIGTERM)
        smbd.wait(timeout=30)


def section_of(program: str, share: str, name: str) -> str:
    printed = run(program, "share", "samba", share, "--name", name)
    return re.sub(r"^\s*[#;].*\n", "", printed, flags=re.MULTILINE)

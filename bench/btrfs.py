"""btrfs subvolumes and their snapshots, for comparison."""

import fcntl
import os
import struct
import time

from bench.commands import run, seconds_of

# From linux/btrfs.h.
BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417
BTRFS_SUBVOL_RDONLY = 2
ARGUMENTS = "=qQQ32s4040s"  # fd, transaction id, flags, unused, name


class Subvolume:
    def __init__(self, path: str):
        self.path = path
        self.taken = 0

    @classmethod
    def made(cls, path: str) -> "Subvolume":
        run("btrfs", "subvolume", "create", path)
        return cls(path)

    def snapshot(self) -> str:
        return self.timed_snapshot()[0]

    def timed_snapshot(self) -> tuple[str, float]:
        """Its path, and the seconds that the system call took."""
        self.taken += 1
        name = f"{os.path.basename(self.path)}-snapshot-{self.taken}"
        source = os.open(self.path, os.O_RDONLY)
        parent = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            arguments = bytearray(
                struct.pack(ARGUMENTS, source, 0, BTRFS_SUBVOL_RDONLY, b"", name.encode())
            )
            began = time.perf_counter()
            fcntl.ioctl(parent, BTRFS_IOC_SNAP_CREATE_V2, arguments)
            seconds = time.perf_counter() - began
        finally:
            os.close(source)
            os.close(parent)
        return f"{os.path.dirname(self.path)}/{name}", seconds

    def snapshot_by_command(self) -> float:
        self.taken += 1
        return seconds_of("btrfs", "subvolume", "snapshot", "-r", self.path, f"{self.path}-snapshot-{self.taken}")

    @staticmethod
    def delete_snapshot(path: str) -> None:
        run("btrfs", "subvolume", "delete", "--commit-after", path)

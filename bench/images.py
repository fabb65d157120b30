"""Filesystems on images in RAM. They live in the mount namespace that scripts/bench makes, so that
nothing of them can outlive the run."""

import os
import tempfile
from contextlib import contextmanager
from typing import Iterator

from bench.commands import CommandFailed, run

# Enough inodes for a million files in an image of a few GiB.
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-i", "8192", "-E", "nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single"],
}

DISK_FOLDER = "/var/tmp"


class Images:
    def __init__(self, folder: str):
        self.folder = folder
        self.count = 0

    @contextmanager
    def mounted(self, kind: str, gibibytes: int) -> Iterator[str]:
        """An empty filesystem; its image takes only as much memory as is written."""
        self.count += 1
        image = f"{self.folder}/image-{self.count}"
        place = f"{self.folder}/{kind}-{self.count}"
        with open(image, "wb") as file:
            os.ftruncate(file.fileno(), gibibytes << 30)
        run(*MKFS[kind], image)
        os.mkdir(place)
        run("mount", "-o", "loop,noatime", "-t", kind, image, place)
        try:
            yield place
        finally:
            try:
                run("umount", "--recursive", place)
            except CommandFailed:
                run("umount", "--recursive", "--lazy", place)
            os.unlink(image)

    @contextmanager
    def mounted_on_disk(self, kind: str, gibibytes: int) -> Iterator[str]:
        """The same on the machine's own disk, past its cache: a sync takes what it takes there."""
        self.count += 1
        place = f"{self.folder}/{kind}-{self.count}"
        with tempfile.NamedTemporaryFile(dir=DISK_FOLDER, prefix="umbra-bench-") as image:
            os.posix_fallocate(image.fileno(), 0, gibibytes << 30)
            run(*MKFS[kind], image.name)
            os.mkdir(place)
            device = run("losetup", "--find", "--show", "--direct-io=on", image.name).strip()
            try:
                run("mount", "-o", "noatime", "-t", kind, device, place)
                try:
                    yield place
                finally:
                    run("umount", "--recursive", place)
            finally:
                run("losetup", "--detach", device)

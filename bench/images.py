"""Filesystems on images in RAM. They live in the mount namespace that scripts/bench makes, so that
nothing of them can outlive the run."""

import os
from contextlib import contextmanager
from typing import Iterator

from bench.commands import CommandFailed, run

# Enough inodes for a million files in an image of a few GiB.
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-i", "8192", "-E", "nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single"],
}


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

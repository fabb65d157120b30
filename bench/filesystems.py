"""The filesystems that are compared: each passes one directory of the same image through."""

import os
from contextlib import contextmanager
from typing import Callable, Iterator

from bench.commands import run


def bindfs(source: str, place: str, _scratch: str) -> None:
    run("bindfs", source, place)


def mergerfs(source: str, place: str, _scratch: str) -> None:
    run("mergerfs", source, place)


def fuse_overlayfs(source: str, place: str, scratch: str) -> None:
    for part in ("lower", "work"):
        os.makedirs(f"{scratch}/{part}")
    options = f"lowerdir={scratch}/lower,upperdir={source},workdir={scratch}/work"
    run("fuse-overlayfs", "-o", options, place)


def unionfs_fuse(source: str, place: str, _scratch: str) -> None:
    run("unionfs", f"{source}=RW", place)


PLAIN = "plain"
UMBRA = "Umbra"
WRITEBACK = "Umbra -o writeback"
BINDFS = "bindfs"
PEERS: dict[str, Callable[[str, str, str], None]] = {
    BINDFS: bindfs,
    "mergerfs": mergerfs,
    "fuse-overlayfs": fuse_overlayfs,
    "unionfs-fuse": unionfs_fuse,
}


@contextmanager
def peer(name: str, image: str) -> Iterator[str]:
    """Mounts a peer over a new directory of the image and says where."""
    source, place, scratch = (f"{image}/{name}.{part}" for part in ("source", "mount", "scratch"))
    for directory in (source, place, scratch):
        os.mkdir(directory)
    PEERS[name](source, place, scratch)
    try:
        yield place
    finally:
        run("umount", place)

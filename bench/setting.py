"""What all rows are given: sizes, images, the programs, and the three trees that several of them use."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.commands import Workload
from bench.images import Images
from bench.umbra import Share, Umbra

MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    rounds: int
    small_files: int
    random_file_bytes: int
    random_writes: int
    sequential_bytes: int
    overwrite_bytes: int
    unpacked_files: int
    trees: tuple[int, int, int]
    snapshot_creates: int
    command_creates: int
    changed_fixed: int
    changed_growing: tuple[int, ...]
    cycles: int


FULL = Sizes(
    rounds=7,
    small_files=2000,
    random_file_bytes=64 * MIB,
    random_writes=8192,
    sequential_bytes=256 * MIB,
    overwrite_bytes=64 * MIB,
    unpacked_files=5000,
    trees=(1_000, 100_000, 1_000_000),
    snapshot_creates=60,
    command_creates=25,
    changed_fixed=500,
    changed_growing=(100, 1_000, 10_000),
    cycles=10_000,
)

QUICK = Sizes(
    rounds=3,
    small_files=300,
    random_file_bytes=16 * MIB,
    random_writes=1024,
    sequential_bytes=32 * MIB,
    overwrite_bytes=16 * MIB,
    unpacked_files=1000,
    trees=(1_000, 5_000, 20_000),
    snapshot_creates=15,
    command_creates=5,
    changed_fixed=200,
    changed_growing=(50, 500, 2_000),
    cycles=500,
)


@dataclass
class Tree:
    """A mounted share that holds `files` files, 100 in a directory."""

    files: int
    share: Share


@dataclass
class Setting:
    sizes: Sizes
    images: Images
    umbra: Umbra
    workload: Workload
    umbra_options: str = ""
    _stack: ExitStack = field(default_factory=ExitStack)
    _trees: list[Tree] = field(default_factory=list)

    def trees(self) -> list[Tree]:
        """Three shares of different size; made once, they stay until close()."""
        if not self._trees:
            image = self._stack.enter_context(self.images.mounted("ext4", 14))
            for files in self.sizes.trees:
                path = f"{image}/{files}-files"
                os.mkdir(path)
                self.workload.run("make-tree", path, files, 200)
                self._trees.append(Tree(files, self._stack.enter_context(self.umbra.share(path))))
        return self._trees

    def close(self) -> None:
        self._stack.close()

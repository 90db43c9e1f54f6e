"""A disk whose reads fail, shrink and count on demand."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from zimage_syncd.disk.read import DiskReader
from zimage_syncd.disk.write import CacheDisk


class FaultyReader(DiskReader):
    """A reader that asks `before` what happens at each piece, and tells of all that it read."""

    def __init__(self, before: Callable[[int, int], None], reads: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self._before = before
        self._reads = reads

    def pieces(self, descriptor: int, offset: int, length: int) -> Iterator[memoryview]:
        self._before(descriptor, offset)
        for piece in super().pieces(descriptor, offset, length):
            self._reads.append((os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")), offset, len(piece)))
            yield piece


class FaultyDisk(CacheDisk):
    """A `CacheDisk` (made by changing an instance's class) with readers of that kind."""

    before: Callable[[int, int], None]
    reads: list[tuple[str, int, int]]

    def reader(self, *, past_cache: bool) -> FaultyReader:
        return FaultyReader(self.before, self.reads)


def make_faulty(disk: CacheDisk, before: Callable[[int, int], None] = lambda _descriptor, _offset: None) -> FaultyDisk:
    """The same disk, from now on with faults."""
    disk.__class__ = FaultyDisk
    assert isinstance(disk, FaultyDisk)
    disk.before, disk.reads = before, []
    return disk


def unreadable(name: str, *offsets: int) -> Callable[[int, int], None]:
    """A sector that the disk cannot give any more, in the chunks at these offsets of a file."""

    def before(descriptor: int, offset: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith(name) and offset in offsets:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    return before

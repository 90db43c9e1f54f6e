"""Reads payload for verification: from the disk itself where that is possible, else without leaving a trace in memory.

A verification that is served by the page cache proves the memory and not the disk, and one that fills the page cache
evicts the weights that a GPU job has there. Writes nothing, hashes nothing. See docs/adr/0012.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator

from zimage_syncd.disk.page_cache import is_untouched

READ_BYTES = 2 * 2**20
"""One read, and all that a reader holds. Measured with O_DIRECT and four threads on two cores: 1 to 4 MiB are equal,
16 MiB cost a tenth of the rate and a third more processor time: the piece has left the cache when it is hashed."""

_ALIGNMENT_BYTES = 4096
"""What O_DIRECT wants of offset, length and address: no disk has larger blocks that Linux mounts by default."""


class CachedReader:
    """Reads through the page cache, as everybody does; one thread's own."""

    def __init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, READ_BYTES))  # anonymous memory begins on a page

    def begin(self, descriptor: int) -> None:
        """Nothing has to be prepared."""

    def pieces(self, descriptor: int, offset: int, length: int) -> Iterator[memoryview]:
        """Yields `length` bytes from `offset` in views that the next piece overwrites; fewer where the file ends.

        Args:
            descriptor: open for reading, given to `begin` before.
            offset: in bytes, a multiple of 4096.
            length: bytes.

        Raises:
            OSError: the disk cannot give them.
        """
        end = offset + length
        while offset < end:
            wanted = min(READ_BYTES, _aligned(end - offset))
            count = min(self._read(descriptor, offset, wanted), end - offset)
            if count == 0:
                return
            yield self._buffer[:count]
            offset += count

    def _read(self, descriptor: int, offset: int, wanted: int) -> int:
        return os.preadv(descriptor, [self._buffer[:wanted]], offset)


class DiskReader(CachedReader):
    """Reads past the page cache; where a file system refuses that, what was not in it before is dropped again."""

    def begin(self, descriptor: int) -> None:
        """Prepares a descriptor; once, before any thread reads from it."""
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)
        except OSError:
            _fall_back(descriptor)

    def _read(self, descriptor: int, offset: int, wanted: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            try:
                return super()._read(descriptor, offset, wanted)
            except OSError as error:
                # Larger blocks than ours, or a read that was cut short at an odd place.
                if error.errno != errno.EINVAL:
                    raise
                _fall_back(descriptor)
        untouched = is_untouched(descriptor, offset, wanted)
        count = super()._read(descriptor, offset, wanted)
        if untouched:
            os.posix_fadvise(descriptor, offset, wanted, os.POSIX_FADV_DONTNEED)
        return count


def _fall_back(descriptor: int) -> None:
    """Reads through the page cache from now on, without reading ahead: that would look like somebody's use."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & os.O_DIRECT:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

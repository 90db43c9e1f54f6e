"""Which chunks of a file on its way have arrived: what is there is hashed, and nothing is changed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from zimage_syncd.digest import PIECE_BYTES, hash_chunk
from zimage_syncd.disk.errors import translated
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry, chunk_count

UNREADABLE = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN})
"""A sector that is lost, and what file systems with checksums say of one. Whoever writes meets his own EIO again."""


@dataclass(slots=True)
class Arrived:
    """What was found."""

    missing: list[int] = field(default_factory=list)
    """Indexes of the chunks that do not count, whatever is wrong with them."""
    unreadable: list[int] = field(default_factory=list)
    """Those of them that the disk cannot give."""


def look_at_chunks(descriptor: int, where: str, file: FileEntry, check: Callable[[], None]) -> Arrived:
    """Hashes what a partial holds; what has never been written is not read.

    Args:
        descriptor: open for reading.
        where: its place, for messages.
        file: what the content shall be.
        check: called before each chunk that is hashed; may raise to stop.

    Raises:
        DiskError: the disk fails in another way than by sectors that it cannot give.
    """
    written = _written_chunks(descriptor, file.size_bytes)
    buffer = memoryview(bytearray(PIECE_BYTES))
    found = Arrived()
    for index, digest in enumerate(file.chunks):
        if index in written:
            check()
            arrived = _hash(descriptor, where, index, file.chunk_length(index), buffer)
            if arrived == digest:
                continue
            if arrived is None:
                found.unreadable.append(index)
        found.missing.append(index)
    return found


def _hash(descriptor: int, where: str, index: int, length: int, buffer: memoryview) -> str | None:
    """A chunk's digest; None where the disk cannot give it."""
    with translated(where):
        try:
            return hash_chunk(descriptor, index, length, buffer)
        except OSError as error:
            if error.errno in UNREADABLE:
                return None
            raise


def _written_chunks(descriptor: int, size_bytes: int) -> set[int]:
    chunks: set[int] = set()
    offset = 0
    while offset < size_bytes:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            return set(range(chunk_count(size_bytes)))
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        chunks.update(range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES)))
        offset = end
    return chunks

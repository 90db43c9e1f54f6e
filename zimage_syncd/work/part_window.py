"""One part of a file, as the body of a request that sends it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable

from zimage_syncd.digest import PIECE_BYTES, FileHasher


class HashingWindow:
    """Gives a part's bytes, and hashes each of them when it is read for the first time.

    A repeated request goes back in the part, the hash does not: it has these bytes already.

    Args:
        descriptor: of the file, open for reading.
        start: where the part begins, in bytes.
        length: of the part, in bytes.
        hasher: of all that comes before it; stays as it is.
        check: is called before every reading; may raise to stop.
        on_sending: is told how many bytes are given to be sent, and how many of them for the first time; may wait.
    """

    def __init__(
        self,
        descriptor: int,
        start: int,
        length: int,
        hasher: FileHasher,
        check: Callable[[], None],
        on_sending: Callable[[int, int], None],
    ) -> None:
        self._descriptor = descriptor
        self.start = start
        """Where the part begins in the file, in bytes."""
        self._length = length
        self._hasher = hasher.copy()
        self._check = check
        self._on_sending = on_sending
        self._position = 0
        self._hashed = 0
        self.given_bytes = 0
        """How much of the part was given to be sent, from its beginning."""
        self.failure: OSError | None = None
        """Why the last reading gave nothing; a library that sends this may turn it into an error of its own."""

    def __len__(self) -> int:
        return self._length

    def tell(self) -> int:
        """The present position within the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to `offset` within the part."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, min(self._length, base + offset))
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` more bytes, to be sent."""
        data = self._next(size)
        new = max(0, self._position - self.given_bytes)
        self.given_bytes += new
        self._on_sending(len(data), new)
        return data

    def crc32(self) -> int:
        """CRC-32 (zlib) of the whole part as it is in the file now; ends where the file ends."""
        self._position = value = 0
        while piece := self._next(PIECE_BYTES):
            value = zlib.crc32(piece, value)
        return value

    def finished_hasher(self) -> FileHasher:
        """The hash up to the end of this part; what was not read yet is read now."""
        while self._hashed < self._length:
            self._position = self._hashed
            if not self._next(PIECE_BYTES):
                break
        return self._hasher

    def _next(self, size: int) -> bytes:
        self._check()
        left = self._length - self._position
        count = left if size < 0 else min(size, left)
        try:
            data = os.pread(self._descriptor, count, self.start + self._position)
        except OSError as error:
            self.failure = error
            raise
        self.failure = None
        fresh = self._position + len(data) - self._hashed
        if fresh > 0:
            self._hasher.update(memoryview(data)[len(data) - fresh :])
            self._hashed += fresh
        self._position += len(data)
        return data

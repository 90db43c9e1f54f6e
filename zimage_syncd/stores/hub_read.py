"""Reads a range of a published file into a buffer, and takes up where a broken connection stopped."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from zimage_syncd.model.failures import BlobMissing, StoreBroken, StoreUnreachable
from zimage_syncd.stores.http_body import Body
from zimage_syncd.stores.hub import Sleep
from zimage_syncd.stores.hub_connection import BREAKS, Answer, HubBusy, HubConnection, HubUnreached, reason

MAX_BREAKS = 5
"""Broken connections and busy answers that one read survives."""

MAX_UNREACHED = 2
"""Attempts to reach the hub that one read makes in a row: where there is no network, nobody is to wait for it."""

MAX_PAUSE_S = 60.0
"""The longest pause that a hub may ask for; what asks for more is left alone."""

MAX_SKIP_BYTES = 256 * 2**20
"""Read and thrown away where a server ignores the range; more would be a download of the file for every chunk."""

_FIRST_PAUSE_S = 0.2
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

_jitter = random.SystemRandom()


class _Stream:
    """An answer as `Body` takes it: what drips in is given once a second, so that a stop is honoured."""

    def __init__(self, answer: Answer) -> None:
        self._raw_stream = answer.raw
        self.readinto = answer.raw.readinto
        self.close = answer.close


class HubRead:
    """One range of one published file, read once.

    Args:
        connection: to its hub.
        published: the file's name in the repository.
        size_bytes: of the whole file, as the manifest has it.
        sleep: waits for so many seconds.
    """

    def __init__(self, connection: HubConnection, published: str, size_bytes: int, sleep: Sleep) -> None:
        self._connection = connection
        self._published = published
        self._subject = f"{connection.name}: {published}"
        self._size_bytes = size_bytes
        self._sleep = sleep
        self._breaks = 0
        self._position = 0
        self._end = 0

    def pieces(self, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes from `offset`, in views of `buffer` that hold until the next one.

        Empty ones come between where it takes time: whoever reads may have had enough of this hub.

        Raises:
            BlobMissing: the repository does not have the file, or in another size.
            StoreUnreachable, StoreDenied, StoreBroken: as their names say.
        """
        self._position, self._end = offset, offset + length
        while self._position < self._end:
            answer, skip = self._open()
            body = Body(_Stream(answer))
            try:
                for piece in body.pieces(skip, self._end - self._position, buffer):
                    self._position += len(piece)
                    yield piece
            except BREAKS as error:
                self._lose(reason(error))
            else:
                if self._position < self._end:
                    self._lose("the answer ended early")
            finally:
                body.close()

    def _open(self) -> tuple[Answer, int]:
        """An answer, and how many of its bytes come before the position."""
        answer = self._answer()
        try:
            return answer, self._position - self._begins_at(answer)
        except BaseException:
            answer.close()
            raise

    def _answer(self) -> Answer:
        unreached = 0
        while True:
            try:
                return self._connection.open(self._published, self._position, self._end - 1)
            except HubBusy as busy:
                self._lose(busy.said, busy.pause_s)
            except HubUnreached as error:
                unreached += 1
                if unreached == MAX_UNREACHED:
                    raise StoreUnreachable(self._subject, str(error)) from error
                self._lose(str(error))

    def _lose(self, said: str, pause_s: float | None = None) -> None:
        """Waits before another attempt.

        Raises:
            StoreUnreachable: there were too many, or the hub asks for more patience than there is.
        """
        self._breaks += 1
        if self._breaks > MAX_BREAKS:
            raise StoreUnreachable(self._subject, f"given up after {self._breaks} attempts; the last: {said}")
        if pause_s is not None and pause_s > MAX_PAUSE_S:
            raise StoreUnreachable(self._subject, f"{said}, and asks to wait {pause_s:.0f} s")
        own_s = _jitter.uniform(0, _FIRST_PAUSE_S * 2**self._breaks)
        self._sleep(own_s if pause_s is None else pause_s + own_s)

    def _begins_at(self, answer: Answer) -> int:
        """The first byte of an answer that covers the rest of the range; a hub may send the whole file instead."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise StoreBroken(self._subject, "the answer is compressed, which nobody asked for")
        first, after, total = self._covered(answer)
        if total is not None and total != self._size_bytes:
            detail = f"it has another version there: {total} bytes, expected {self._size_bytes}"
            raise BlobMissing(self._subject, detail)
        if self._position - first > MAX_SKIP_BYTES:
            raise StoreBroken(self._subject, f"the answer begins at byte {first}, not {self._position}: no ranges here")
        if first > self._position or after < self._end:
            wanted = f"bytes {self._position} to {self._end}"
            raise StoreBroken(self._subject, f"the answer has the bytes {first} to {after}, expected {wanted}")
        return first

    def _covered(self, answer: Answer) -> tuple[int, int, int | None]:
        """First byte, byte after the last one, and the whole file's size, where the answer tells."""
        if answer.status_code == 200:
            length = answer.headers.get("Content-Length", "")
            size = int(length) if length.isdecimal() else None
            return 0, self._size_bytes if size is None else size, size
        given = answer.headers.get("Content-Range", "")
        match = _CONTENT_RANGE.fullmatch(given)
        if match is None:
            raise StoreBroken(self._subject, f"Content-Range {given[:100]!r} is not understood")
        return int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3])

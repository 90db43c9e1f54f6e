"""The body of an answer, of S3 or a hub, read into a buffer without a copy in between."""

from __future__ import annotations

import http.client
import io
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

_AT_MOST_S = 1
"""How long one reading gathers bytes before it gives what it has: whoever reads may want to stop, or ask elsewhere."""


class Body:
    """Wraps the `StreamingBody` of an answer.

    urllib3 2.8 implements `readinto` by reading into new bytes and copying them; http.client's own reads from the
    socket into the buffer, which takes a fifth less of a processor (measured). That one is used where the body comes as
    it is: no content coding, no chunks, and objects that look as expected.

    Args:
        stream: of botocore, or what looks like one.
        monotonic_s: the time, in seconds.
    """

    def __init__(
        self,
        stream: Any,  # noqa: ANN401 - botocore has no types at run time
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._monotonic_s = monotonic_s
        self._raw: Any = getattr(stream, "_raw_stream", None)
        plain = getattr(self._raw, "_fp", None)
        direct = isinstance(plain, http.client.HTTPResponse) and not plain.chunked and not _is_coded(self._raw)
        self._plain = plain if direct and isinstance(plain, http.client.HTTPResponse) else None
        self._socket = None if self._plain is None else _WaitingSocket.below(self._plain.fp, monotonic_s)
        self._is_drained = False

    def pieces(self, skip: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields `length` bytes after the first `skip`, in views of `buffer` that hold until the next one.

        Empty ones come between where it takes time. Ends early where the connection was closed early.

        Raises:
            OSError, http.client.HTTPException: as `readinto`.
        """
        while length:
            count = self.readinto(buffer[: min(len(buffer), skip or length)])
            if count == 0:
                return
            if count is None:
                yield buffer[:0]
            elif skip:
                skip -= count
                yield buffer[:0]
            else:
                length -= count
                yield buffer[:count]

    def readinto(self, room: memoryview) -> int | None:
        """Reads what comes within about a second; 0 at the end, or where the connection was closed before it.

        Returns:
            How many bytes; None where nothing came, and may yet.

        Raises:
            OSError, http.client.HTTPException: the connection broke; through urllib3 also its and botocore's errors.
        """
        if self._plain is None:
            return int(self._stream.readinto(room))
        if not self._plain.length:
            return self._plain.readinto(room)
        return self._gather(self._plain, room[: self._plain.length])

    def _gather(self, plain: http.client.HTTPResponse, room: memoryview) -> int | None:
        """Fills the room, or as much of it as comes in time.

        `HTTPResponse.readinto` waits for the last byte, and every byte that drips in starts its timeout anew. So this
        takes from what is below, and keeps the count of what is left for http.client.
        """
        until_s = self._monotonic_s() + _AT_MOST_S
        got = 0
        while got < len(room):
            count = self._some(plain, room[got:])
            if count is None:
                return got or None
            got += count
            plain.length = (plain.length or 0) - count
            if not count or self._monotonic_s() >= until_s:
                break
        if not plain.length or not got:
            plain.readinto(room[:1] if plain.length else room[:0])  # reads nothing; lets go of an ended connection
        return got

    def _some(self, plain: http.client.HTTPResponse, room: memoryview) -> int | None:
        """What http.client's reader has read ahead, then what the socket gives."""
        if self._socket is None:
            return int(plain.fp.readinto1(room))
        if self._is_drained:
            return self._socket.heard(self._socket.receive(room))
        count = self._socket.heard(plain.fp.readinto1(room))
        self._is_drained = len(room) > io.DEFAULT_BUFFER_SIZE  # what does not fit into its buffer has gone past it
        return count

    def close(self) -> None:
        """Lets go of it; a connection whose body was read to its end serves the next request."""
        if self._plain is not None and self._plain.isclosed():
            self._raw.release_conn()
        self._stream.close()


class _WaitingSocket:
    """A socket without TLS, read by one system call for each piece.

    A read that gives whatever has arrived is called four to ten times for a MiB, and each time a thread waits for
    Python's lock: with 16 threads that took longer than everything else together.

    Args:
        connection: the socket; it blocks from here on, until whoever sends the next request sets its timeout.
        timeout_s: how long it may give nothing.
        monotonic_s: the time, in seconds.
    """

    def __init__(self, connection: socket.socket, timeout_s: float, monotonic_s: Callable[[], float]) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._monotonic_s = monotonic_s
        self._heard_s = monotonic_s()
        connection.settimeout(None)
        # A struct timeval: whole seconds, and no microseconds.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _AT_MOST_S, 0))

    @classmethod
    def below(cls, reader: Any, monotonic_s: Callable[[], float]) -> _WaitingSocket | None:  # noqa: ANN401 - as above
        """The socket below the reader of an answer; None where there is another thing."""
        connection = getattr(getattr(reader, "raw", None), "_sock", None)
        if type(connection) is not socket.socket or connection.gettimeout() == 0:
            return None
        timeout_s = connection.gettimeout()
        return cls(connection, math.inf if timeout_s is None else timeout_s, monotonic_s)

    def receive(self, room: memoryview) -> int | None:
        """Fills the room, or as much of it as comes within about a second; 0 at the end, None where nothing came.

        Raises:
            OSError: the connection broke.
        """
        try:
            return self._connection.recv_into(room, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            return None

    def heard(self, count: int | None) -> int | None:
        """Notes what was read last, from the socket or a reader above it, and gives it back.

        Raises:
            TimeoutError: there has been nothing for too long.
        """
        now_s = self._monotonic_s()
        if count is not None:
            self._heard_s = now_s
        elif now_s - self._heard_s >= self._timeout_s:
            raise TimeoutError(f"no byte came within {self._timeout_s:g} s")
        return count


def _is_coded(raw: Any) -> bool:  # noqa: ANN401 - as above
    coding: str = getattr(raw, "headers", {}).get("content-encoding", "")
    return coding.strip().lower() not in {"", "identity", "aws-chunked"}

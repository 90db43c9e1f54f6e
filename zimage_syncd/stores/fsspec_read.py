"""Reads a range of an object behind an fsspec URL, and takes up where a broken connection stopped."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from zimage_syncd.model.failures import StoreBroken, StoreUnreachable
from zimage_syncd.stores.fsspec_connection import Connection, FileSystem

MAX_BREAKS = 5
"""Broken connections that one read survives."""

_FIRST_PAUSE_S = 0.2

_jitter = random.SystemRandom()


def read_range(
    connection: Connection, path: str, offset: int, length: int, buffer: memoryview, *, sleep: Callable[[float], None]
) -> Iterator[memoryview]:
    """Yields exactly `length` bytes from `offset`, in views of `buffer` that hold until the next one.

    Args:
        connection: to the file system.
        path: as the file system takes it.
        offset: in bytes.
        length: in bytes.
        buffer: reused for every view.
        sleep: waits for so many seconds after a broken connection.

    Raises:
        ObjectMissing: there is none.
        StoreBroken: it ends before.
    """
    position, end, breaks = offset, offset + length, 0
    while position < end:
        try:
            for piece in _pieces(connection, path, position, end, buffer):
                position += len(piece)
                yield piece
        except StoreUnreachable:
            breaks += 1
            if breaks > MAX_BREAKS:
                raise
            sleep(_jitter.uniform(0, _FIRST_PAUSE_S * 2**breaks))


def _pieces(connection: Connection, path: str, position: int, end: int, buffer: memoryview) -> Iterator[memoryview]:
    with connection.using(path) as system:
        source = _Source(system, path, position)
    try:
        while position < end:
            with connection.using(path):
                data = source.read(min(len(buffer), end - position))
            if not data:
                raise StoreBroken(path, f"ends after {position} bytes, expected at least {end}")
            buffer[: len(data)] = data
            position += len(data)
            yield buffer[: len(data)]
    finally:
        source.close()


class _Source:
    """An object that is read in order from some position."""

    def __init__(self, system: FileSystem, path: str, position: int) -> None:
        self._system = system
        self._path = path
        self._position = position
        self._file: Any = None
        if not _serves_ranges(system):
            self._file = system.open(path, "rb")
            self._file.seek(position)

    def read(self, count: int) -> bytes:
        if self._file is not None:
            return bytes(self._file.read(count))
        data = bytes(self._system.cat_file(self._path, start=self._position, end=self._position + count))
        self._position += len(data)
        return data

    def close(self) -> None:
        if self._file is not None:
            # What was read is good even where the connection is gone by now.
            with suppress(Exception):
                self._file.close()


def _serves_ranges(system: FileSystem) -> bool:
    """Whether `cat_file` is the implementation's own and knows ranges.

    sshfs's ignores them; memory's `open`, on the other hand, gives all readers one and the same file object.
    """
    from fsspec.spec import AbstractFileSystem  # noqa: PLC0415 (a tenth of a second that other stores do not pay)

    kind = type(system)
    method = getattr(kind, "_cat_file", kind.cat_file)
    return method is not AbstractFileSystem.cat_file and "start" in inspect.signature(method).parameters

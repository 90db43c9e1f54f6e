"""Small JSON documents of this program's own state: read with bounds, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.lock import NO_LOCKS, try_flock
from zimage_syncd.durability import sync_directory
from zimage_syncd.model.failures import CacheBusy

_MAX_BYTES = 2**20
_PIECE_BYTES = 2**18
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_ABANDONED_S = 60.0
"""A write takes milliseconds; one that began so long ago was killed. Reports are written without the cache's lock."""

_LOCK_SUFFIX = ".lock"
_LOOK_S = 0.02
_LOOKS = 500
"""Ten seconds: who holds the lock writes one small file."""


def read_bytes(path: str, max_bytes: int = _MAX_BYTES) -> bytes | None:
    """A small file's content; None where it is absent, too large, no regular file, or cannot be read."""
    try:
        data = b"".join(read_pieces(path, max_bytes + 1))
    except OSError:
        return None
    return data if len(data) <= max_bytes else None


def read_pieces(path: str, max_bytes: int) -> Iterator[bytes]:
    """A file's content in pieces, at most so many bytes of it.

    Raises:
        OSError: it is absent, no regular file, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no regular file", path)
        while max_bytes > 0 and (piece := os.read(descriptor, min(_PIECE_BYTES, max_bytes))):
            yield piece
            max_bytes -= len(piece)
    finally:
        os.close(descriptor)


def read_document(path: str) -> dict[str, object] | None:
    """A JSON object, or None where there is none that can be understood."""
    data = read_bytes(path)
    if data is None:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def sweep_documents(directory: str, now_s: float) -> int:
    """Removes what killed writers of documents left in a directory and below; returns how many.

    Args:
        directory: where documents are kept; may be missing. What is below its `quarantine` is somebody else's.
        now_s: the clock, in seconds since the epoch.
    """
    removed = 0
    for place, below, names in os.walk(directory):
        if place == directory:
            below[:] = [name for name in below if name != "quarantine"]
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                if _TEMPORARY.fullmatch(name) and abs(now_s - os.lstat(path).st_mtime) > _ABANDONED_S:
                    os.unlink(path)
                    removed += 1
    return removed


def write_document(path: str, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
    """Writes a file durably: a reader sees the old or the new content, whole.

    Args:
        path: where; directories above are made.
        data: its content, or the pieces of it.
        mode: permission bits.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, f".{os.path.basename(path)}.{secrets.token_hex(4)}.tmp")
    with translated(path, writing=True):
        os.makedirs(directory, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines((data,) if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_directory(directory)


def update_document(path: str, change: Callable[[Mapping[str, object]], bytes]) -> None:
    """Replaces a JSON object by what is made of it, while no other process does the same.

    A lock file beside it is locked meanwhile: the document itself is another file after each write.

    Args:
        path: the document; where it is missing or cannot be understood, `change` is given an empty one.
        change: makes the new content.

    Raises:
        CacheBusy: another process holds the lock for 10 s.
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    with translated(path, writing=True):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path + _LOCK_SUFFIX, flags, 0o644)
    try:
        with translated(path, writing=True):
            _lock(descriptor, path)
        write_document(path, change(read_document(path) or {}))
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: str) -> None:
    """Locks it; on a file system that knows no locks the last of two writers wins, and both are whole."""
    try:
        for _ in range(_LOOKS):
            if try_flock(descriptor, fcntl.LOCK_EX):
                return
            time.sleep(_LOOK_S)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return
    raise CacheBusy(path, "another process has been changing it for 10 s")

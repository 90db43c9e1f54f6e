"""Files that are kept one a job, in a directory: named by when the job began, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from datetime import datetime, timedelta

from zimage_syncd.durability import sync_directory
from zimage_syncd.model.failures import DeviceFull, PathUnwritable

STAMP = "%Y%m%dT%H%M%S"
_PARTS = 16**4
"""Of a second: as many as four hexadecimal digits tell apart."""
_STEM_CHARS = len("20261124T030000-0000")
_FULL = (28, 122)
"""ENOSPC and EDQUOT (errno.h)."""


def free_stem(at: datetime, names: Iterable[str]) -> str:
    """A stem that is free. It sorts as jobs began, also within a second; of one moment, the later kept comes later.

    Args:
        at: when the job began, UTC.
        names: of the files that are there.
    """
    second, part = at.replace(microsecond=0), at.microsecond * _PARTS // 10**6
    taken = {name[:_STEM_CHARS] for name in names}
    while (stem := f"{second.strftime(STAMP)}-{part:04x}") in taken:
        carried, part = divmod(part + 1, _PARTS)
        second += timedelta(seconds=carried)
    return stem


def write_kept(place: str, data: bytes) -> None:
    """Writes a file, durably; its directory is made.

    Raises:
        PathUnwritable, DeviceFull: the directory cannot take it.
    """
    directory, name = os.path.split(place)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        os.makedirs(directory, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, place)
        sync_directory(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise (DeviceFull if error.errno in _FULL else PathUnwritable)(place, str(error.strerror)) from error


def read_kept(place: str, limit_bytes: int) -> bytes:
    """The beginning of a file.

    Raises:
        OSError: it cannot be read, or is no regular file: whoever opens a FIFO could wait for ever.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no regular file", place)
        return file.read(min(limit_bytes, os.fstat(descriptor).st_size))


def names_in(directory: str) -> list[str]:
    """All names in it, the latest first; none where it cannot be listed."""
    try:
        return sorted(os.listdir(directory), reverse=True)
    except OSError:
        return []

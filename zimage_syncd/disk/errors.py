"""The system's errors as failures that name the path."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from zimage_syncd.model.failures import (
    DataDiskReadOnly,
    DeviceFull,
    DiskError,
    Failure,
    PathUnreadable,
    PathUnwritable,
    UnsafePath,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_NOT_A_DIRECTORY = frozenset({errno.ELOOP, errno.ENOTDIR})


def translate(error: OSError, subject: str, *, writing: bool) -> Failure:
    """The failure that an `OSError` means.

    Args:
        error: what the system said.
        subject: the path that it happened to.
        writing: whether something was to be written.
    """
    detail = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return DeviceFull(subject, detail)
    if error.errno == errno.EROFS:
        return DataDiskReadOnly(subject, detail)
    if error.errno in _DENIED:
        return (PathUnwritable if writing else PathUnreadable)(subject, detail)
    if error.errno in _NOT_A_DIRECTORY:
        return UnsafePath(subject, f"a symlink or a file lies where a directory was expected ({detail})")
    return DiskError(subject, detail)


@contextlib.contextmanager
def translated(subject: str, *, writing: bool = False) -> Iterator[None]:
    """Turns every `OSError` of its block into a failure about `subject`."""
    try:
        yield
    except OSError as error:
        raise translate(error, subject, writing=writing) from error

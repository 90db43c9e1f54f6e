"""What the operating system's errors mean for a store that is a directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from zimage_syncd.model.failures import (
    DataDiskReadOnly,
    DeviceFull,
    DiskError,
    Failure,
    ObjectMissing,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)

_MEANINGS: dict[int, type[Failure]] = {
    errno.EACCES: StoreDenied,
    errno.EPERM: StoreDenied,
    errno.EROFS: DataDiskReadOnly,
    errno.ENOSPC: DeviceFull,
    errno.EDQUOT: DeviceFull,
    errno.EIO: DiskError,
    # What a network or FUSE mount gives when its server is gone.
    errno.ESTALE: StoreUnreachable,
    errno.ENOTCONN: StoreUnreachable,
    errno.ETIMEDOUT: StoreUnreachable,
    errno.EHOSTDOWN: StoreUnreachable,
    errno.EHOSTUNREACH: StoreUnreachable,
}

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
"""How a directory says that there is no such object; a directory of that name is none either."""


def failure_of(error: OSError, root: str, subject: str, operation: str) -> Failure:
    """The failure that an error of the operating system stands for.

    Args:
        error: what was caught.
        root: absolute path of the store's directory.
        subject: the object's path, for people.
        operation: what was tried, such as `read`.
    """
    said = f"{operation}: {error.strerror or error}"
    if error.errno in ABSENT:
        if not os.path.isdir(root):
            parent_there = os.path.isdir(os.path.dirname(root))
            why = "the first backup makes it" if parent_there else "nor is the one above; is its disk mounted?"
            return StoreMissing(root, f"there is no such directory; {why}")
        return ObjectMissing(subject) if operation == "read" else StoreBroken(subject, said)
    return _MEANINGS.get(error.errno or 0, StoreBroken)(subject, said)


@contextmanager
def translated(root: str, subject: str, operation: str) -> Iterator[None]:
    """Turns errors of the operating system into failures (see `failure_of`)."""
    try:
        yield
    except OSError as error:
        raise failure_of(error, root, subject, operation) from error

"""One cycle at a time: an flock on the data disk, with the holder's name in the file.

The kernel lets go of it when its process ends, however it ends, so no stale lock remains.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator

from zimage_syncd.disk.errors import translated
from zimage_syncd.model.failures import CacheBusy

LOCK_NAME = "lock"

_LOOK_S = 0.02
"""Longer than anybody looks."""
_LOOKERS_WAITED_FOR = 50
"""A second: a `status` may have been suspended while it looked."""


@contextlib.contextmanager
def cache_lock(state_directory: str, doing: str) -> Iterator[None]:
    """Holds the cache's lock.

    Args:
        state_directory: `.zimage-syncd` on the data disk.
        doing: what for, such as `restore`; shown to whoever comes second.

    Raises:
        CacheBusy: another process holds it.
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    place = os.path.join(state_directory, LOCK_NAME)
    with translated(place, writing=True):
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with translated(place, writing=True):
            if not _take(descriptor):
                raise CacheBusy(place, f"held by {_holder(descriptor)}")
            document = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
            data = json.dumps(document).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, data, 0)
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Takes the lock; False where a job has it. Who only looks (`lock_holder`) is waited for."""
    for _ in range(_LOOKERS_WAITED_FOR):
        if try_flock(descriptor, fcntl.LOCK_EX):
            return True
        # A job excludes everybody; lookers share.
        if not try_flock(descriptor, fcntl.LOCK_SH):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_LOOK_S)
    return False


def try_flock(descriptor: int, kind: int) -> bool:
    """Locks an open file without waiting; False where another process has it.

    Args:
        descriptor: of the file.
        kind: `fcntl.LOCK_EX` or `fcntl.LOCK_SH`.

    Raises:
        OSError: the file system knows no locks, or has no more.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            raise
        return False
    return True


@contextlib.contextmanager
def directory_lock(directory: str) -> Iterator[None]:
    """Holds a directory that is no cache of ours, without leaving a file in it.

    Raises:
        CacheBusy: another process holds it.
        PathUnreadable, DiskError: as their names say.
    """
    with translated(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with translated(directory):
            if not try_flock(descriptor, fcntl.LOCK_EX):
                raise CacheBusy(directory, "another restore writes into it")
        yield
    finally:
        os.close(descriptor)


def lock_holder(state_directory: str) -> str | None:
    """Who holds the lock now, for people; None when nobody does."""
    try:
        descriptor = os.open(os.path.join(state_directory, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _holder(descriptor: int) -> str:
    try:
        document = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(document['pid'])} on {str(document['host'])[:64]} ({str(document['doing'])[:64]})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not written its name yet"

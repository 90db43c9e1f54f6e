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
from collections.abc import Iterator

from zimage_syncd.disk.errors import translated
from zimage_syncd.model.failures import CacheBusy

LOCK_NAME = "lock"


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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                with translated(place, writing=True):
                    raise
            raise CacheBusy(place, f"held by {_holder(descriptor)}") from error
        with translated(place, writing=True):
            document = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
            data = json.dumps(document).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, data, 0)
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CacheBusy(directory, "another restore writes into it") from error
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

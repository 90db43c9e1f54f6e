"""One cycle at a time: an flock on the data disk, with the holder's name in the file.

The kernel lets go of it when its process ends, however it ends, so no stale lock remains. Where other hosts reach the
disk, they are kept away by a lease (`disk/lease.py`), and the file system's locks are not asked: some know none, others
keep those of a host that stands still. A name in the abstract name space of Unix sockets, which goes with its process,
too, keeps this host's processes apart there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

from zimage_syncd.disk.errors import translated
from zimage_syncd.model.failures import CacheBusy

LOCK_NAME = "lock"

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
"""What flock(2) answers on a file system that knows none."""
_ROOM = "zimage-syncd/job"

_LOOK_S = 0.02
"""Longer than anybody looks."""
_LOOKERS_WAITED_FOR = 50
"""A second: a `status` may have been suspended while it looked."""


@contextlib.contextmanager
def cache_lock(state_directory: str, doing: str, room: str = "") -> Iterator[None]:
    """Holds the cache's lock.

    Args:
        state_directory: `.zimage-syncd` on the data disk.
        doing: what for, such as `restore`; shown to whoever comes second.
        room: where other hosts are kept away by a lease: what the processes that one holder of it covers have in
            common. Empty: the file system's lock is for all.

    Raises:
        CacheBusy: another process holds it.
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    place = os.path.join(state_directory, LOCK_NAME)
    with contextlib.ExitStack() as held:
        with translated(place, writing=True):
            descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            held.callback(os.close, descriptor)
            if not (_named(descriptor, held, room) if room else _taken(descriptor, held, _take)):
                raise CacheBusy(place, f"held by {_holder(descriptor)}")
            document = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
            data = json.dumps(document).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, data, 0)
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)


def _taken(descriptor: int, held: contextlib.ExitStack, take: Callable[[int], bool]) -> bool:
    """Locks an open file, or where that is not known, a name that stands for it for as long as `held` is open."""
    try:
        return take(descriptor)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return _named(descriptor, held, "")


def _named(descriptor: int, held: contextlib.ExitStack, room: str) -> bool:
    try:
        held.enter_context(_new_socket()).bind(_name_of(descriptor, room))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _name_of(descriptor: int, room: str) -> str:
    status = os.fstat(descriptor)
    return f"\0{_ROOM}/{room}/{status.st_dev:x}-{status.st_ino:x}"


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
    with contextlib.ExitStack() as held:
        with translated(directory):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, descriptor)
            if not _taken(descriptor, held, partial(try_flock, kind=fcntl.LOCK_EX)):
                raise CacheBusy(directory, "another restore writes into it")
        yield


def lock_holder(state_directory: str, room: str = "") -> str | None:
    """Who holds the lock now, for people; None when nobody does. Its arguments are those of `cache_lock`."""
    try:
        descriptor = os.open(os.path.join(state_directory, LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _is_free(descriptor, room) else _holder(descriptor)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int, room: str) -> bool:
    """Whether nobody has an open file or its name; no job is kept from either."""
    try:
        if not room:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            return False
    try:
        with _new_socket() as looking:
            looking.connect(_name_of(descriptor, room))
    except OSError:
        return True
    return False


def _holder(descriptor: int) -> str:
    try:
        document = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(document['pid'])} on {str(document['host'])[:64]} ({str(document['doing'])[:64]})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not written its name yet"

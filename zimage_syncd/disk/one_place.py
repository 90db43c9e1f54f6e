"""Whether paths lead to one place, also where a file system is mounted twice, or a part of it somewhere else.

Symlinks can be resolved, mounts cannot: only device and inode tell that `/workspace/cache` is `/mnt/data/cache`.
"""

from __future__ import annotations

import os
import secrets

from zimage_syncd.disk.errors import translated
from zimage_syncd.model.private import PARTIAL_PREFIX, PARTIAL_SUFFIX


def is_one(path: str, other: str) -> bool:
    """Whether both are there, and are the same file or directory."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def lies_in(path: str, directory: str) -> bool:
    """Whether a path leads to a directory or to something below it.

    Args:
        path: absolute; what is missing of it lies where its directory would.
        directory: absolute.
    """
    place = os.path.realpath(path)
    while not is_one(place, directory):
        if place == "/":
            return False
        place = os.path.dirname(place)
    return True


def shows_in(directory: str, other: str) -> bool:
    """Whether what is made in a directory appears in another one.

    Device and inode say nothing where a pool of disks shows the directory of one of them, or a server's export is
    mounted twice.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: nothing could be made to try it with.
    """
    name = f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    place = os.path.join(directory, name)
    with translated(place, writing=True):
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            return os.path.lexists(os.path.join(other, name))
        finally:
            os.unlink(place)


def mount_of(directory: str) -> str:
    """The mount that a directory is reached by (proc_pid_fdinfo(5), `mnt_id`); empty where nobody says.

    Raises:
        OSError: it is no directory that can be opened.
    """
    descriptor = os.open(directory, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            return next((line for line in file if line.startswith("mnt_id:")), "")
    except OSError:
        return ""
    finally:
        os.close(descriptor)

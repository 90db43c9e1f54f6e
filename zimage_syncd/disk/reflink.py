"""Extents that two files share: a copy without a byte of it being read."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator

from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.private import PARTIAL_PREFIX, PARTIAL_SUFFIX

_FICLONE = 0x40049409
"""ioctl of btrfs, XFS and bcachefs that shares a whole file's extents (linux/fs.h)."""

_NO_REFLINK = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.ETXTBSY})

_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
"""What open(2) says of O_TMPFILE where the file system does not know it."""


def share_extents(descriptor: int, source: int) -> bool:
    """Gives an open file all extents of another one; False where the file system cannot.

    Raises:
        OSError: it could, and did not.
    """
    try:
        fcntl.ioctl(descriptor, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True


def can_share(tree: Tree, source: str) -> bool:
    """Whether files of a cache can share extents with a file elsewhere; tried, with a file that has no name."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with _trial(tree.root) as trial:
            return share_extents(trial, descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _trial(directory: str) -> Iterator[int]:
    name = ""
    try:
        descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
        # NFS and SMB have files with names only; what a kill leaves is swept like a partial.
        name = f"{directory}/{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        if name:
            os.unlink(name)

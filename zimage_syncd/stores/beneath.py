"""Opens files below a directory that others write to, without ever following a symlink on the way."""

from __future__ import annotations

import errno
import os
import stat

from zimage_syncd.model.path import RelPath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def open_beneath(root: str, path: RelPath) -> int:
    """A descriptor of a regular file, for reading.

    Every part is opened from the one before it, so that nobody who swaps a directory for a link meanwhile can lead out
    of `root`; only `root` itself may be reached through links.

    Args:
        root: absolute path of a directory.
        path: below it.

    Raises:
        FileNotFoundError: nothing is there, or something that is neither a file nor a link.
        OSError: ENOTDIR or ELOOP where a link lies on the way or at its end; else as the operating system says.
    """
    descriptor = os.open(root, _DIRECTORY)
    try:
        *above, name = path.parts
        for part in above:
            deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        # Without O_NONBLOCK, a FIFO would hold us until somebody writes to it.
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "is no regular file", path)
    return found

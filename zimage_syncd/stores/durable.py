"""Small files that are on the disk when the call returns, or not there at all.

For the objects of a store that is a directory; payload of caches is `disk/write.py`'s business.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from zimage_syncd.durability import sync_directory
from zimage_syncd.model.path import RelPath


def write_new(path: str, pieces: Iterable[bytes]) -> None:
    """Writes a file that must not exist, and fsyncs it; nothing is left of it after a failure.

    Args:
        path: where.
        pieces: its content.

    Raises:
        OSError: it exists, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


def make_parents(root: str, path: RelPath) -> None:
    """Makes the directories above `path` below `root`, never `root` itself, each of them durable.

    Raises:
        OSError: `root` is missing, or one of them cannot be made.
    """
    for parent in path.parents:
        directory = os.path.join(root, parent)
        try:
            os.mkdir(directory)
        except FileExistsError:
            continue
        sync_directory(os.path.dirname(directory))

"""Where replaced content is kept: `.zimage-syncd/quarantine/<time>-<random>/<path>`.

Repair never destroys what somebody else wrote. A hard link keeps it for nothing where the file system can; across file
systems it is copied.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.tree import Tree, is_link, is_regular
from zimage_syncd.durability import sync_directory
from zimage_syncd.model.path import RelPath

_TIME_FORMAT = "%Y%m%dT%H%M%SZ"


class Quarantine:
    """A directory for content that was replaced."""

    def __init__(self, directory: str, now: Callable[[], datetime]) -> None:
        self.directory = directory
        self._now = now

    def keep(self, tree: Tree, path: RelPath) -> str | None:
        """Keeps what lies at `path` aside: a file or a link stays where it is, too; anything else is moved.

        It is on the disk when the call returns: whoever takes its place may do so durably.

        Returns:
            Where it is kept; None where nothing is there.
        """
        status = tree.lstat(path)
        if status is None:
            return None
        batch = f"{self._now().strftime(_TIME_FORMAT)}-{secrets.token_hex(4)}"
        place = os.path.join(self.directory, batch, path)
        with translated(place, writing=True), tree.parent(path) as directory:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            if not is_regular(status) and not is_link(status):
                os.rename(path.name, place, src_dir_fd=directory)
                _sync_above(place, path)
                os.fsync(directory)
                return place
            try:
                os.link(path.name, place, src_dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                if error.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
                    raise
                shutil.copy2(tree.absolute(path), place, follow_symlinks=False)
                if is_regular(status):
                    _sync_file(place)
            _sync_above(place, path)
        return place

    def sweep(self, days: float) -> int:
        """Removes what was kept longer than `days`; returns how many batches went."""
        oldest = (self._now() - timedelta(days=days)).strftime(_TIME_FORMAT)
        removed = 0
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.directory)):
                if name[: len(oldest)] < oldest:
                    shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)
                    removed += 1
        return removed


def _sync_file(place: str) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_above(place: str, path: RelPath) -> None:
    """Makes what leads to a kept `path` durable: directories of its batch, the batch, and the quarantine.

    btrfs writes what was fsynced alone: a file that took its name was on the disk, and the kept one was not (seen).
    """
    for _ in range(len(path.parts) + 2):
        place = os.path.dirname(place)
        sync_directory(place)

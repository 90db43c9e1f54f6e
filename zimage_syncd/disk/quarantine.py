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
from zimage_syncd.model.path import RelPath

_TIME_FORMAT = "%Y%m%dT%H%M%SZ"


class Quarantine:
    """A directory for content that was replaced."""

    def __init__(self, directory: str, now: Callable[[], datetime]) -> None:
        self.directory = directory
        self._now = now

    def keep(self, tree: Tree, path: RelPath) -> str | None:
        """Keeps what lies at `path` aside: a file or a link stays where it is, too; anything else is moved.

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
                os.fsync(directory)
                return place
            try:
                os.link(path.name, place, src_dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                if error.errno not in {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}:
                    raise
                shutil.copy2(tree.absolute(path), place, follow_symlinks=False)
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

"""Finds changes of names below a directory by its directories' own stat: for file systems where inotify is blind.

A directory that did not change is not listed again, and no file is ever looked at: 100,000 files in 1,000 directories
cost 1,000 calls of stat. What a file holds is nobody's business here.

A change that falls into the same tick of the server's clock as a look is not seen again. It does no harm: the look saw
that tick's first change, and whoever asked waits until nothing has changed for a while before the files are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_Stamp = tuple[int, int, int, int, int]


class TreeTimes:
    """One directory and all below; for one thread at a time.

    Args:
        directory: absolute.
        besides: a directory below that does not count.
    """

    def __init__(self, directory: str, besides: str) -> None:
        self._directory = directory
        self._besides = besides
        self._known: dict[str, tuple[_Stamp, tuple[str, ...]]] = {}

    def has_changed(self) -> bool:
        """Whether a name came, went or moved since this was last asked; at first, whether anything is there.

        What cannot be looked at counts as not there.
        """
        found: dict[str, tuple[_Stamp, tuple[str, ...]]] = {}
        waiting = [self._directory]
        while waiting:
            place = waiting.pop()
            entry = self._look(place)
            if entry is not None:
                found[place] = entry
                waiting.extend(os.path.join(place, name) for name in entry[1])
        changed = found != self._known
        self._known = found
        return changed

    def _look(self, place: str) -> tuple[_Stamp, tuple[str, ...]] | None:
        """Its stamp and the directories in it, as they were known where it has not changed."""
        try:
            status = os.stat(place, follow_symlinks=place == self._directory)
            stamp = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink)
            known = self._known.get(place)
            if known is not None and known[0] == stamp:
                return known
            # Stamped before it is listed: what comes meanwhile is another change at the next look.
            return stamp, tuple(sorted(self._directories(place)))
        except OSError:
            return None

    def _directories(self, place: str) -> Iterator[str]:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and entry.path != self._besides:
                    yield entry.name

"""A real directory that lies where a cache link belongs, and is to be taken into the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from zimage_syncd.model.path import RelPath
from zimage_syncd.ports.disk import Seen, SeenFile


@dataclass(frozen=True, slots=True)
class OldEntry:
    """Something in it that is no directory."""

    path: RelPath
    """From the old directory."""
    wanted: RelPath
    """From the cache directory."""
    seen: Seen
    """What it is."""

    @property
    def mark(self) -> tuple[object, ...]:
        """By which a change is noticed (see `is_as`)."""
        if not isinstance(self.seen, SeenFile):
            return (self.seen,)
        stat = self.seen.stat
        return (stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns, stat.links)

    def is_as(self, mark: tuple[object, ...] | None) -> bool:
        """Whether it is as it was when it had a mark.

        A hard link that came or went is no change, and then nothing can be said by `ctime`.
        """
        if mark is None or len(mark) != len(self.mark):
            return False
        is_one_of_many = len(mark) > 1 and (mark[-1] != self.mark[-1] or mark[-1] != 1)
        return mark[:-2] == self.mark[:-2] if is_one_of_many else mark == self.mark


class OldDirectory(Protocol):
    """See `disk/old_directory.py`."""

    @property
    def place(self) -> str:
        """Where the link belongs."""

    @property
    def root(self) -> str:
        """Where it lies now: at its place, or aside."""

    @property
    def is_aside(self) -> bool:
        """Whether the link has taken its place."""

    def walk(self) -> Iterator[OldEntry]:
        """Everything but directories, in order of paths; raises PathUnreadable, UnsafePath, DiskError."""

    def look(self, entry: OldEntry) -> OldEntry:
        """The same entry as it is now."""

    def open_read(self, path: RelPath) -> int:
        """A descriptor of a file; raises FileNotFoundError, PathUnreadable, UnsafePath, DiskError."""

    def absolute(self, path: RelPath) -> str:
        """Where a file lies now."""

    def device(self) -> int:
        """The `st_dev` of its file system."""

    def exchange(self) -> bool:
        """Lets the link take its place in one step; False where it cannot be renamed. Raises LinkOccupied."""

    def remove(self, entry: OldEntry) -> None:
        """Removes a file or a link, unless it has changed."""

    def remove_directories(self) -> bool:
        """Removes empty directories, itself included; whether nothing is left."""

    def make_link(self) -> None:
        """Makes the link where nothing lies any more."""

    def link_again(self) -> bool:
        """Makes the link where a killed run did not come so far; whether it is in its place."""

    def keep_rest(self) -> str:
        """Gives what is left a name that says so; returns it."""

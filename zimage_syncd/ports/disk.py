"""A cache directory that may be written to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import FileStat


def file_stat(status: os.stat_result) -> FileStat:
    """The part of a stat by which a change is noticed."""
    return FileStat(
        inode=status.st_ino,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        mode=status.st_mode & 0o777,
        links=status.st_nlink,
    )


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing lies there."""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A regular file lies there."""

    stat: FileStat
    """Its stat."""


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A symlink lies there."""

    target: str
    """Its text."""


@dataclass(frozen=True, slots=True)
class Other:
    """Something else lies there."""

    what: str
    """`a directory` or `a special file`."""


Seen = Absent | SeenFile | SeenLink | Other


class Partial(Protocol):
    """A file on its way: gathered in a hidden file beside its place until every chunk counts."""

    @property
    def path(self) -> RelPath:
        """Where it will be."""

    def write(self, offset: int, data: memoryview) -> None:
        """Writes a piece where it belongs; from any thread."""

    def lend(self) -> int | None:
        """Its descriptor, for another process that writes pieces where they belong; open until it is closed.

        None where only this process may write, so that it is told of every error.
        """

    def start_writeback(self, offset: int, length: int) -> None:
        """A hint that a range is complete and may be written to the disk now."""

    def missing_chunks(self, file: FileEntry, check: Callable[[], None]) -> list[int]:
        """Indexes of the chunks that do not count yet, found by hashing what is there."""

    def clone(self, source: int) -> bool:
        """Takes over the content of an open file; True where extents are shared and nothing was copied."""

    def reflink(self, source: int) -> bool:
        """Shares all extents of an open file; False where the file system cannot."""

    def discard(self) -> None:
        """Removes it."""

    def close(self) -> None:
        """Lets go of it; it stays for the next run."""


class Reader(Protocol):
    """Reads files for one thread, in a buffer of its own (see `disk/read.py`)."""

    def begin(self, descriptor: int) -> None:
        """Prepares a file that was opened; once, before any thread reads from it."""

    def pieces(self, descriptor: int, offset: int, length: int) -> Iterator[memoryview]:
        """Yields `length` bytes from `offset` (a multiple of 4096), fewer where the file ends; raises OSError."""


class Disk(Protocol):
    """A cache directory that may be written to (see `disk/write.py`)."""

    @property
    def root(self) -> str:
        """The absolute path of the cache directory."""

    def make_root(self) -> None:
        """Makes the cache directory, where it is missing."""

    def free_bytes(self) -> int:
        """What an ordinary user can still write."""

    def look(self, path: RelPath) -> Seen:
        """What lies at `path` itself; raises UnsafePath where a directory on the way is a symlink."""

    def open_read(self, path: RelPath) -> int:
        """A descriptor of a regular file, for reading; raises FileNotFoundError where nothing is there."""

    def reader(self, *, past_cache: bool) -> Reader:
        """A thread's reader; `past_cache`: of what the disk holds, not of what the page cache says that it holds."""

    def begin_file(self, path: RelPath, size_bytes: int, like: int | None = None) -> Partial:
        """Opens the partial of `path`, made and preallocated; a new one shares the extents of `like` where it can."""

    def can_reflink(self, source: str) -> bool:
        """Whether files here can share extents with a file of a store."""

    def partial_path(self, path: RelPath) -> RelPath:
        """Where the partial of `path` lies, for `open_read`."""

    def partial_bytes(self, path: RelPath) -> int:
        """Bytes that the partial of `path` occupies on the disk already."""

    def missing_chunks(self, file: FileEntry, check: Callable[[], None]) -> list[int]:
        """Indexes of the chunks that the file's partial, if there is one, does not hold; changes nothing."""

    def finish_file(self, partial: Partial, mode: int, *, keep_old: bool) -> FileStat:
        """Gives a partial of which every chunk counts its final name; `keep_old`: what lay there goes to quarantine."""

    def set_mode(self, path: RelPath, mode: int) -> FileStat:
        """Corrects a file's permissions."""

    def make_link(self, path: RelPath, target: str) -> None:
        """Makes or replaces a relative symlink; a file that lies there goes to quarantine."""

    def make_pointer(self, path: RelPath, text: str, mode: int, *, replace: bool = False) -> bool:
        """Writes a pointer where there is none, or in place of a damaged one, which goes to quarantine."""

    def place(self, path: RelPath, source: str, mode: LinkMode) -> None:
        """Lets a store's file appear by SYMLINK or HARDLINK, without reading it."""

    def sweep_partials(self, beside: Iterable[RelPath], keep: Iterable[RelPath], *, only_links: bool = False) -> int:
        """Removes partials beside these payload paths, except those of `keep`; returns how many."""

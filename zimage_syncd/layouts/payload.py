"""Follows a cache's symlinks to the payload, without ever leaving the snapshot's own places.

Only two kinds of links are followed: a relative one to a path that the snapshot's layout owns, through real directories
only, and an absolute one into a recorded store. Everything else is named, not opened: it could be a secret.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from zimage_syncd.layouts.walk import shown
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.packed_local import FilesByPath, LinksInOrder
from zimage_syncd.model.path import RelPath, resolve_link
from zimage_syncd.model.snapshot import ExpectedDigest

_MAX_HOPS = 3
"""A snapshot's name → the repository's blob → a shared blob, and one to spare."""


@dataclass(slots=True)
class Way:
    """Where a name of a snapshot leads."""

    path: RelPath
    """The payload's path, or where the way ended."""
    passed: tuple[RelPath, ...]
    """All paths on it, the name's own first and `path` last."""
    trouble: str | None = None
    """Why there is no payload; None where there is."""
    status: os.stat_result | None = None
    """The payload's stat; None where there is trouble."""
    linked_to: str | None = None
    """Absolute path in a recorded store, where `path` is a symlink into one."""


@dataclass(slots=True)
class Gatherer:
    """Collects a snapshot's files and links; equal paths once."""

    root: str
    """The cache directory, absolute and without symlinks."""
    linked_roots: tuple[str, ...]
    """Recorded stores, absolute."""
    owned: Callable[[str], object]
    """Whether the snapshot may have something at a path: whatever counts as true."""
    files: FilesByPath = field(default_factory=FilesByPath)
    """Payload."""
    links: LinksInOrder = field(default_factory=LinksInOrder)
    """Symlinks on the ways that were gone."""
    _directories: dict[str, bool] = field(default_factory=dict)
    """Whether a directory and all above it, up to the root, are real ones."""

    def follow(self, path: RelPath, *, is_link: bool, keep: bool = True) -> Way:
        """Goes from `path` to its payload, and keeps every link on the way.

        Args:
            path: where to begin; the paths of one gathering come in their order, each once.
            is_link: what the listing said of it; believed only as far as a link's text is there.
            keep: whether links are kept.
        """
        if is_link and (way := self._one_link(path, keep=keep)) is not None:
            return way
        passed = [path]
        for hop in range(_MAX_HOPS + 1):
            here = passed[-1]
            try:
                status = os.lstat(f"{self.root}/{here}")
                target = os.readlink(f"{self.root}/{here}") if stat.S_ISLNK(status.st_mode) else None
            except OSError as error:
                return Way(here, tuple(passed), self._absent(here, path, error))
            if stat.S_ISREG(status.st_mode):
                return Way(here, tuple(passed), status=status)
            if target is None:
                return Way(here, tuple(passed), f"{shown(here)} is neither a file nor a symlink")
            if target.startswith("/"):
                return self._outside(here, passed, target)
            try:
                following = self._next(here, target)
            except UnsafePath as failure:
                return Way(here, tuple(passed), f"it is a link to {shown(target)}: {failure.detail}")
            if keep:
                self.links.add(here, target, in_order=hop == 0)
            passed.append(following)
        return Way(passed[-1], tuple(passed), "it leads through too many symlinks")

    def _one_link(self, path: RelPath, *, keep: bool) -> Way | None:
        """The way of nearly every file of a cache with symlinks; None for all others, which are looked at closely."""
        try:
            target = os.readlink(f"{self.root}/{path}")
            following = self._next(path, target)
            status = os.lstat(f"{self.root}/{following}")
        except (OSError, UnsafePath):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        if keep:
            self.links.add(path, target, in_order=True)
        return Way(following, (path, following), status=status)

    def _absent(self, here: RelPath, path: RelPath, error: OSError) -> str:
        if not isinstance(error, FileNotFoundError):
            return f"{shown(here)} cannot be looked at: {error.strerror}"
        return f"{shown(here)} is missing" if here == path else f"its blob {shown(here)} is missing"

    def _next(self, here: RelPath, target: str) -> RelPath:
        """Where a relative link leads; raises UnsafePath where it is not to be followed."""
        resolved = resolve_link(here, target)
        if not self.owned(resolved):
            raise UnsafePath(here, "that is no part of the snapshot")
        directory = resolved.rpartition("/")[0]
        if not self._directories.get(directory) and not self._real(directory):
            raise UnsafePath(here, "a directory on the way is missing, or a symlink itself")
        return resolved

    def _real(self, directory: str) -> bool:
        if not directory:
            return True
        known = self._directories.get(directory)
        if known is None:
            try:
                known = stat.S_ISDIR(os.lstat(f"{self.root}/{directory}").st_mode)
            except OSError:
                known = False
            known = known and self._real(directory.rpartition("/")[0])
            self._directories[directory] = known
        return known

    def _outside(self, here: RelPath, passed: list[RelPath], target: str) -> Way:
        """Follows an absolute link into a recorded store, and nowhere else."""
        real = os.path.realpath(target)
        in_store = any(
            target.startswith(f"{root.rstrip('/')}/") and real.startswith(f"{os.path.realpath(root)}/")
            for root in self.linked_roots
        )
        if not in_store:
            return Way(here, tuple(passed), f"it leads out of the cache, to {shown(target)}")
        try:
            status = os.stat(real)
        except OSError as error:
            return Way(here, tuple(passed), f"it leads to {shown(target)}: {error.strerror}")
        if not stat.S_ISREG(status.st_mode):
            return Way(here, tuple(passed), f"it leads to {shown(target)}, which is no file")
        return Way(here, tuple(passed), status=status, linked_to=target)

    def contradiction(self, way: Way, expected: ExpectedDigest | None) -> str | None:
        """Why a name cannot lead to payload that another name leads to, too; None where nothing speaks against it."""
        known = self.files.get(way.path) if way.path in self.files else None
        said = None if known is None else known.expected
        if said is None or expected is None or said.algorithm is not expected.algorithm or said.hex == expected.hex:
            return None
        other = f"{shown(way.path)}, which is {said.hex} for another name"
        return f"it leads to {other}; {expected.source} says {expected.hex}"

    def keep(self, way: Way, expected: ExpectedDigest | None) -> int | None:
        """Keeps the payload at the end of a way without trouble, and gives its size; None where there is trouble."""
        if way.status is None:
            return None
        known = self.files.get(way.path) if way.path in self.files else None
        if known is not None:
            return known.size_bytes
        self.files.add(way.path, way.status, expected, way.linked_to)
        return way.status.st_size

    def open(self, path: RelPath) -> int:
        """A descriptor of the payload that a path leads to, for reading.

        Raises:
            OSError: it leads to none, or that cannot be opened.
        """
        way = self.follow(path, is_link=False, keep=False)
        if way.status is None:
            raise OSError(errno.ENOENT, way.trouble or "there is no payload", path)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        if way.linked_to is not None:
            return os.open(way.linked_to, flags)
        return os.open(f"{self.root}/{way.path}", flags | os.O_NOFOLLOW)

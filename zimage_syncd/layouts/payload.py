"""Follows a cache's symlinks to the payload, without ever leaving the cache except into a recorded store."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.path import RelPath, resolve_link
from zimage_syncd.model.snapshot import ExpectedDigest, LocalFile, LocalLink

_MAX_HOPS = 3
"""A snapshot's name → the repository's blob → a shared blob."""


@dataclass(slots=True)
class Gatherer:
    """Collects a snapshot's files and links; equal paths once."""

    root: str
    """The cache directory, absolute."""
    linked_roots: tuple[str, ...]
    """Recorded stores."""
    files: dict[RelPath, LocalFile] = field(default_factory=dict)
    """Payload by path."""
    links: dict[RelPath, LocalLink] = field(default_factory=dict)
    """Symlinks by path."""

    def follow(self, path: RelPath) -> tuple[list[RelPath], str | None]:
        """Goes from `path` to its payload, and keeps every link on the way.

        Returns:
            The paths on the way, the payload's last; and what is wrong, or None.
        """
        way = [path]
        for _ in range(_MAX_HOPS + 1):
            try:
                status = os.lstat(f"{self.root}/{way[-1]}")
            except OSError:
                return way, f"{way[-1]} is missing"
            if stat.S_ISREG(status.st_mode):
                return way, None
            if not stat.S_ISLNK(status.st_mode):
                return way, f"{way[-1]} is neither a file nor a symlink"
            target = os.readlink(f"{self.root}/{way[-1]}")
            if target.startswith("/"):
                return way, self._outside(way[-1], target)
            try:
                resolved = resolve_link(way[-1], target)
            except UnsafePath as failure:
                return way, f"{way[-1]} leads to {target}: {failure.detail}"
            self.links[way[-1]] = LocalLink(way[-1], target)
            way.append(resolved)
        return way, f"{path} leads through too many symlinks"

    def _outside(self, path: RelPath, target: str) -> str | None:
        if not any(target.startswith(f"{root}/") for root in self.linked_roots):
            return f"{path} leads out of the cache, to {target}"
        return None if os.path.isfile(target) else f"{path} leads to {target}, which is not there"

    def keep(self, path: RelPath, expected: ExpectedDigest | None) -> LocalFile:
        """Keeps the payload at the end of a way that `follow` found good."""
        known = self.files.get(path)
        if known is not None:
            return known
        status = os.lstat(f"{self.root}/{path}")
        linked_to = None
        if stat.S_ISLNK(status.st_mode):
            linked_to = os.readlink(f"{self.root}/{path}")
            status = os.stat(linked_to)
        file = LocalFile(path, status.st_size, stat.S_IMODE(status.st_mode) & 0o777, expected, linked_to)
        self.files[path] = file
        return file

    def open(self, path: RelPath) -> int:
        """A descriptor of kept payload, for reading."""
        linked_to = self.files[path].linked_to
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        if linked_to is not None:
            return os.open(linked_to, flags)
        return os.open(f"{self.root}/{path}", flags | os.O_NOFOLLOW)

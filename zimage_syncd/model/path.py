"""Relative paths that cannot leave their root.

Owns the one rule by which a path from a manifest, a store or a cache is allowed to become a place on disk.
It knows nothing of the disk itself: symlinks on the way are `disk/write.py`'s business.
"""

from __future__ import annotations

import functools
from typing import Self

from zimage_syncd.model.failures import UnsafePath

MAX_PATH_BYTES = 4096
"""PATH_MAX of Linux (limits.h)."""

MAX_PART_BYTES = 255
"""NAME_MAX of Linux's file systems (limits.h)."""

_ODD_NAMES = frozenset({"", ".", ".."})

_DIRECTORIES = 256
"""Pairs of directories between which links were resolved that are remembered: neighbours of one link have the same."""


class RelPath(str):
    """A path below some root: POSIX separators, no `..`, no `.`, not absolute, no NUL.

    Names that are not UTF-8 are kept as Python keeps them (surrogate escapes, PEP 383), so any name that a
    directory can hold survives a manifest.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Validates `text`.

        Raises:
            UnsafePath: the path could escape its root, or no file system could hold it.
        """
        if type(text) is cls:
            return text
        # Most paths are short and ASCII, with no part that begins with a dot: with 100,000 files each is asked several
        # times, and a regular expression takes longer than all of this.
        plain = len(text) <= MAX_PART_BYTES and text.isascii() and "/." not in text and "//" not in text
        if not plain or text[:1] in "/." or text[-1] == "/" or "\0" in text:
            reason = _objection(text)
            if reason is not None:
                raise UnsafePath(repr(text)[:300], reason)
        return super().__new__(cls, text)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names from the root down."""
        return tuple(self.split("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return self.rsplit("/", 1)[-1]

    @property
    def parents(self) -> tuple[RelPath, ...]:
        """Every directory above, the nearest to the root first."""
        parts = self.parts
        # The beginning of a path that was checked needs no check of its own.
        return tuple(str.__new__(RelPath, "/".join(parts[:count])) for count in range(1, len(parts)))

    def child(self, name: str) -> RelPath:
        """The path of `name` below this one."""
        return RelPath(f"{self}/{name}")

    def is_below(self, other: str) -> bool:
        """Whether this path lies strictly below `other`."""
        return self.startswith(f"{other}/")


def _objection(text: str) -> str | None:
    try:
        raw = text.encode("utf-8", "surrogateescape")
        if raw.decode("utf-8", "surrogateescape") != text:
            return "is not a name that a file system gives"
    except UnicodeEncodeError:
        return "holds characters that no file name has"
    if not text:
        return "is empty"
    if b"\0" in raw:
        return "holds a NUL"
    if len(raw) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    for part in raw.split(b"/"):
        if part in {b"", b".", b".."}:
            return "is absolute, or has an empty, `.` or `..` part"
        if len(part) > MAX_PART_BYTES:
            return f"has a part longer than {MAX_PART_BYTES} bytes"
    return None


def resolve_link(path: RelPath, target: str) -> RelPath:
    """Where a relative symlink points, read lexically.

    Args:
        path: where the link lies.
        target: its text.

    Returns:
        The path below the same root.

    Raises:
        UnsafePath: the target is absolute, empty, leaves the root, or has a `..` after a name (such a target
            means something else once a directory on the way is itself a link).
    """
    head, slash, name = target.rpartition("/")
    directory = _resolved_directory(path.rpartition("/")[0], head) if slash else None
    if directory is not None and name not in _ODD_NAMES:
        return RelPath(f"{directory}/{name}" if directory else name)
    return _resolved(path, target)


@functools.lru_cache(_DIRECTORIES)
def _resolved_directory(base: str, head: str) -> str | None:
    """The directory that a target's own directory means, seen from `base`; None where `_resolved` has to judge."""
    if not head or head.startswith("/"):
        return None
    above, steps = base.split("/") if base else [], head.split("/")
    ups = next((count for count, step in enumerate(steps) if step != ".."), len(steps))
    rest = steps[ups:]
    if ups > len(above) or not _ODD_NAMES.isdisjoint(rest):
        return None
    return "/".join((*above[: len(above) - ups], *rest))


def forget_directories() -> None:
    """Empties the cache of `resolve_link`: what it holds was made amidst the paths of a job, and keeps their memory."""
    _resolved_directory.cache_clear()


def _resolved(path: RelPath, target: str) -> RelPath:
    where = f"{path} -> {target}"[:300]
    if not target or target.startswith("/") or "\0" in target:
        raise UnsafePath(where, "a link's target must be relative")
    parts = target.split("/")
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    base = path.parts[:-1]
    if ups > len(base):
        raise UnsafePath(where, "the link points out of the cache")
    rest = parts[ups:]
    if not rest:
        raise UnsafePath(where, "the link points at a directory above itself")
    return RelPath("/".join((*base[: len(base) - ups], *rest)))

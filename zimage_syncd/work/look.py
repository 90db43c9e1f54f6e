"""Looks at one entry of a manifest: what lies in its place, and what that means; content is left to be read."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from zimage_syncd.decide.damage import is_damaged_pointer
from zimage_syncd.digest import FileDigests
from zimage_syncd.model import problems
from zimage_syncd.model.manifest import (
    CHUNK_BYTES,
    MAX_POINTER_BYTES,
    Entry,
    FileEntry,
    LinkEntry,
    PointerEntry,
)
from zimage_syncd.model.plan import Action, Fetch, Keep, Link, Refuse, Repair, SetMode
from zimage_syncd.ports import Absent, Cancel, Clock, Disk, FileStat, Ledger, OnBytes, Other, SeenFile, SeenLink
from zimage_syncd.work.compare import Damage


class Depth(enum.Enum):
    """How closely files are looked at."""

    QUICK = "quick"
    """Presence, size, permissions, links."""
    KNOWN = "known"
    """The same, and every file that the ledger does not know unchanged is read."""
    DEEP = "deep"
    """Every byte is read, past the page cache where the file system lets us."""


@dataclass(frozen=True, slots=True)
class ToRead:
    """The answer about a file is known only when its content was compared."""

    entry: FileEntry
    """Which."""
    descriptor: int
    """Open for reading."""
    conclude: Callable[[Damage], Action]
    """What the comparison's result means."""


class Look:
    """Looks at entries of a cache; from any thread."""

    def __init__(
        self,
        disk: Disk,
        ledger: Ledger,
        clock: Clock,
        cancel: Cancel,
        *,
        linked_roots: tuple[str, ...] = (),
        replace_dead_links: bool = False,
        replace_links: bool = False,
        on_bytes: OnBytes = lambda _count: None,
    ) -> None:
        """Keeps what it works with.

        Args:
            disk: the cache.
            ledger: what is known of its files.
            clock: for the time of a verification.
            cancel: looked at between pieces.
            linked_roots: recorded stores; an absolute symlink into one of them is a linked file.
            replace_dead_links: whether files that are linked into a store that cannot be seen are fetched from another
                one; otherwise they are reported and stay, since a mount may come back.
            replace_links: whether files that are linked into a store shall become the cache's own.
            on_bytes: is told of bytes that need not be read.
        """
        self._disk = disk
        self._ledger = ledger
        self._clock = clock
        self._cancel = cancel
        self._linked_roots = linked_roots
        self._replace_dead_links = replace_dead_links
        self._replace_links = replace_links
        self._on_bytes = on_bytes

    def at(self, entry: Entry, depth: Depth) -> Action | ToRead:
        """What is to be done about an entry, or what has to be read to know it.

        Raises:
            Failure, OSError: it cannot be looked at.
        """
        match entry:
            case FileEntry():
                return self._file(entry, depth)
            case LinkEntry():
                return self._link(entry)
            case PointerEntry():
                return self._pointer(entry)

    def _pointer(self, entry: PointerEntry) -> Action:
        """A reference may move; what is no commit any more, or a list (`trees/`) with another text, is damaged."""
        seen = self._disk.look(entry.path)
        if isinstance(seen, Absent):
            return Link(entry, "missing", problems.POINTER_MISSING)
        if isinstance(seen, SeenLink):
            return Link(entry, f"expected a file, found a link to {seen.target}", problems.POINTER_DAMAGED)
        if isinstance(seen, Other):
            return Link(entry, f"expected a file, found {seen.what}", problems.POINTER_DAMAGED)
        if is_damaged_pointer(entry.path, self._read_text(entry, seen.stat.size_bytes), entry.text):
            return Link(entry, "its content is not what was recorded", problems.POINTER_DAMAGED)
        return Keep(entry, "there; a pointer may have moved")

    def _read_text(self, entry: PointerEntry, size_bytes: int) -> bytes:
        descriptor = self._disk.open_read(entry.path)
        try:
            return os.pread(descriptor, min(size_bytes, MAX_POINTER_BYTES), 0)
        except OSError:
            return b""  # a list that the disk cannot give is a damaged one
        finally:
            os.close(descriptor)

    def _link(self, entry: LinkEntry) -> Action:
        match self._disk.look(entry.path):
            case Absent():
                return Link(entry, "missing")
            case SeenLink(target) if target == entry.target:
                return Keep(entry, "there")
            case SeenLink(target):
                return Link(entry, f"expected a link to {entry.target}, found one to {target}")
            case SeenFile():
                return Link(entry, f"expected a link to {entry.target}, found a file")
            case Other(what):
                return Link(entry, f"expected a link to {entry.target}, found {what}")

    def _file(self, entry: FileEntry, depth: Depth) -> Action | ToRead:
        match self._disk.look(entry.path):
            case Absent():
                return self._missing(entry)
            case SeenLink(target):
                return self._linked(entry, target, depth)
            case Other(what):
                return self._fetch(entry, f"expected a file, found {what}")
            case SeenFile(stat):
                return self._present(entry, stat, depth)

    def _missing(self, entry: FileEntry) -> Action:
        return self._fetch(entry, "missing")

    def _linked(self, entry: FileEntry, target: str, depth: Depth) -> Action | ToRead:
        root = next((root for root in self._linked_roots if target.startswith(f"{root}/")), None)
        if root is None:
            return self._fetch(entry, f"expected a file, found a link to {target}")
        if self._replace_links:
            return self._fetch(entry, "a link into a store, and the cache's own file is wanted")
        if not self._replace_dead_links and not os.path.isdir(root):
            return Refuse(entry, unseen(root), problems.STORE_MISSING)
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            detail = f"linked to {target}, which cannot be read: {error.strerror}"
            return self._fetch(entry, detail)
        size = os.fstat(descriptor).st_size
        if size == entry.size_bytes and depth is Depth.DEEP:
            return ToRead(entry, descriptor, partial(_conclude_linked, entry, target))
        os.close(descriptor)
        if size != entry.size_bytes:
            reason = f"linked to {target}, which has {size} bytes, expected {entry.size_bytes}"
            return Fetch(entry, reason, entry.size_bytes, problems.FILE_SIZE)
        return Keep(entry, f"linked to {target}")

    def _present(self, entry: FileEntry, stat: FileStat, depth: Depth) -> Action | ToRead:
        if stat.size_bytes != entry.size_bytes:
            reason = f"{stat.size_bytes} bytes, expected {entry.size_bytes}"
            return self._to_read(entry, lambda damage: self._mend(entry, stat, reason, problems.FILE_SIZE, damage))
        known = self._ledger.lookup(entry.path, stat) if depth is Depth.KNOWN else None
        if depth is Depth.QUICK:
            self._on_bytes(entry.size_bytes)
            return _good(entry, stat, "there, with the right size")
        if known is not None and known.digests.chunks == entry.chunks:
            self._on_bytes(entry.size_bytes)
            return _good(entry, stat, f"unchanged since it was verified at {known.verified_at:%Y-%m-%d %H:%M:%S} UTC")
        return self._to_read(entry, partial(self._conclude, entry, stat))

    def _to_read(self, entry: FileEntry, conclude: Callable[[Damage], Action]) -> Action | ToRead:
        try:
            return ToRead(entry, self._disk.open_read(entry.path), conclude)
        except FileNotFoundError:
            return self._missing(entry)  # it vanished since we looked

    def _conclude(self, entry: FileEntry, stat: FileStat, damage: Damage) -> Action:
        after = self._disk.look(entry.path)
        if not damage.chunks:
            if isinstance(after, SeenFile) and after.stat == stat:
                digests = FileDigests(entry.size_bytes, entry.sha256, "", entry.chunks)
                self._ledger.record(entry.path, stat, digests, self._clock.now())
            return _good(entry, stat, "read and right")
        if isinstance(after, Absent):
            return self._missing(entry)
        if not (isinstance(after, SeenFile) and _same_content(after.stat, stat)):
            # Somebody writes it: what we read is neither the old content nor the new one.
            return Refuse(entry, "size or time of modification moved while it was read", problems.FILE_CHANGING)
        return self._mend(entry, stat, damage.describe(entry), damage.problem, damage)

    def _mend(self, entry: FileEntry, stat: FileStat, reason: str, problem: problems.Problem, damage: Damage) -> Action:
        written_by_others = not self._ledger.was_good(entry.path, stat.mtime_ns, entry.sha256)
        fetch_bytes = sum(entry.chunk_length(index) for index in damage.chunks)
        return Repair(entry, reason, damage.chunks, fetch_bytes, written_by_others, problem)

    def _fetch(self, entry: FileEntry, reason: str) -> Fetch:
        """All of it comes from a source, less the chunks of a partial that count already."""
        self._on_bytes(entry.size_bytes)
        if self._disk.partial_bytes(entry.path) < min(CHUNK_BYTES, max(entry.size_bytes, 1)):
            return Fetch(entry, reason, entry.size_bytes)
        missing = tuple(self._disk.missing_chunks(entry, self._cancel.check))
        return Fetch(entry, reason, sum(entry.chunk_length(index) for index in missing), missing=missing)


def unseen(root: str) -> str:
    """Why nothing is done about a file that is linked into a store's directory that is not there."""
    return f"linked into {root}, which cannot be seen"


def unseen_root(action: Action, linked_roots: Sequence[str]) -> str | None:
    """The store into which an entry is linked, where it cannot be seen: a mount that is not there."""
    if not isinstance(action, Refuse) or action.problem is not problems.STORE_MISSING:
        return None
    return next((root for root in linked_roots if action.reason == unseen(root)), None)


def _good(entry: FileEntry, stat: FileStat, reason: str) -> Action:
    # A hard link's mode is its store's affair: correcting it here would change it there.
    if stat.mode != entry.mode and stat.links == 1:
        return SetMode(entry, f"mode {stat.mode:o}, expected {entry.mode:o}")
    return Keep(entry, reason)


def _conclude_linked(entry: FileEntry, target: str, damage: Damage) -> Action:
    if not damage.chunks:
        return Keep(entry, f"linked to {target}")
    return Fetch(entry, f"linked to {target}, of which {damage.describe(entry)}", entry.size_bytes, damage.problem)


def _same_content(one: FileStat, other: FileStat) -> bool:
    return (one.inode, one.size_bytes, one.mtime_ns) == (other.inode, other.size_bytes, other.mtime_ns)

"""Compares what lies on the disk with a manifest, entry by entry; what a restore, a verification and a repair act on.

Reads only. The answer is a list of actions in the manifest's order, one for each entry.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from zimage_syncd.decide.damage import is_damaged_pointer
from zimage_syncd.digest import FileDigests
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.manifest import (
    CHUNK_BYTES,
    MAX_POINTER_BYTES,
    Entry,
    FileEntry,
    LinkEntry,
    Manifest,
    PointerEntry,
)
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Link, Refuse, Repair, SetMode
from zimage_syncd.ports import Absent, Cancel, Clock, Disk, FileStat, Ledger, OnBytes, Other, Reader, SeenFile, SeenLink
from zimage_syncd.work.compare import Comparison, Damage
from zimage_syncd.work.rate import Rate, Unlimited
from zimage_syncd.work.spread import Spread, Task, thread_count


class Depth(enum.Enum):
    """How closely files are looked at."""

    QUICK = "quick"
    """Presence, size, permissions, links."""
    KNOWN = "known"
    """The same, and every file that the ledger does not know unchanged is read."""
    DEEP = "deep"
    """Every byte is read, past the page cache where the file system lets us."""


@dataclass(frozen=True, slots=True)
class _ToRead:
    """The answer about a file is known only when its content was compared."""

    entry: FileEntry
    """Which."""
    descriptor: int
    """Open for reading."""
    conclude: Callable[[Damage], Action]
    """What the comparison's result means."""


_Answer = TypeVar("_Answer", bound=Action | _ToRead)


class Examiner:
    """Looks at entries of a cache."""

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
        rate: Rate | None = None,
        begin_thread: Callable[[], None] = lambda: None,
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
            on_bytes: is told of bytes that were handled, read or not.
            rate: what a deep examination keeps to; None: as fast as it can.
            begin_thread: called at the start of each thread that examines.
        """
        self._disk = disk
        self._ledger = ledger
        self._clock = clock
        self._cancel = cancel
        self._linked_roots = linked_roots
        self._replace_dead_links = replace_dead_links
        self._replace_links = replace_links
        self._on_bytes = on_bytes
        self._rate = rate or Unlimited()
        self._begin_thread = begin_thread
        self._reading: set[Comparison] = set()
        self._lock = threading.Lock()
        self._settled_entries = 0
        self.read_bytes = 0

    def examine(self, manifest: Manifest, depth: Depth) -> Actions:
        """One action for each entry, in order.

        Raises:
            Stopped: somebody asked to stop.
        """
        actions = Actions(manifest.entries)
        self._settled_entries = 0
        tasks = (partial(self._one, entry, depth, index, actions) for index, entry in enumerate(manifest.entries))
        open_reader = partial(self._disk.reader, past_cache=depth is Depth.DEEP)
        try:
            Spread(open_reader, self._begin_thread, min(thread_count(), len(manifest.entries))).run(tasks)
        finally:
            for comparison in self._reading:
                comparison.close()
            self._reading.clear()
        if self._settled_entries != len(manifest.entries):
            raise RuntimeError("an entry was left out")  # none may count as right that nobody looked at
        return actions

    def _put(self, index: int, action: Action, actions: Actions) -> None:
        with self._lock:
            actions.put(index, action)
            self._settled_entries += 1

    def _one(self, entry: Entry, depth: Depth, index: int, actions: Actions, reader: Reader) -> Sequence[Task]:
        """Answers at once, or gives back the tasks of the comparison that the answer waits for."""
        self._cancel.check()
        answer = _settled(entry, lambda: self._entry(entry, depth))
        if not isinstance(answer, _ToRead):
            self._put(index, answer, actions)
            return ()
        return self._compare(answer, depth, index, actions).start(reader)

    def _compare(self, asked: _ToRead, depth: Depth, index: int, actions: Actions) -> Comparison:
        rate = self._rate if depth is Depth.DEEP else Unlimited()

        def on_read(count: int) -> None:
            self._cancel.check()
            rate.take(count)
            with self._lock:
                self.read_bytes += count
            self._on_bytes(count)

        def finish(damage: Damage) -> None:
            self._reading.discard(comparison)
            self._put(index, _settled(asked.entry, lambda: asked.conclude(damage)), actions)

        comparison = Comparison(asked.entry, asked.descriptor, on_read, self._on_bytes, finish)
        self._reading.add(comparison)
        return comparison

    def _entry(self, entry: Entry, depth: Depth) -> Action | _ToRead:
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

    def _file(self, entry: FileEntry, depth: Depth) -> Action | _ToRead:
        match self._disk.look(entry.path):
            case Absent():
                return self._missing(entry)
            case SeenLink(target):
                return self._linked(entry, target, depth)
            case Other(what):
                return Fetch(entry, f"expected a file, found {what}", self._fetch_bytes(entry))
            case SeenFile(stat):
                return self._present(entry, stat, depth)

    def _missing(self, entry: FileEntry) -> Action:
        return Fetch(entry, "missing", self._fetch_bytes(entry))

    def _linked(self, entry: FileEntry, target: str, depth: Depth) -> Action | _ToRead:
        root = next((root for root in self._linked_roots if target.startswith(f"{root}/")), None)
        if root is None:
            return Fetch(entry, f"expected a file, found a link to {target}", self._fetch_bytes(entry))
        if self._replace_links:
            return Fetch(entry, "a link into a store, and the cache's own file is wanted", self._fetch_bytes(entry))
        if not self._replace_dead_links and not os.path.isdir(root):
            return Refuse(entry, unseen(root), problems.STORE_MISSING)
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            detail = f"linked to {target}, which cannot be read: {error.strerror}"
            return Fetch(entry, detail, self._fetch_bytes(entry))
        size = os.fstat(descriptor).st_size
        if size == entry.size_bytes and depth is Depth.DEEP:
            return _ToRead(entry, descriptor, partial(_conclude_linked, entry, target))
        os.close(descriptor)
        if size != entry.size_bytes:
            reason = f"linked to {target}, which has {size} bytes, expected {entry.size_bytes}"
            return Fetch(entry, reason, entry.size_bytes, problems.FILE_SIZE)
        return Keep(entry, f"linked to {target}")

    def _present(self, entry: FileEntry, stat: FileStat, depth: Depth) -> Action | _ToRead:
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

    def _to_read(self, entry: FileEntry, conclude: Callable[[Damage], Action]) -> Action | _ToRead:
        try:
            return _ToRead(entry, self._disk.open_read(entry.path), conclude)
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

    def _fetch_bytes(self, entry: FileEntry) -> int:
        """Bytes that a source has to give: all, less the chunks of a partial that count already."""
        self._on_bytes(entry.size_bytes)
        if self._disk.partial_bytes(entry.path) < min(CHUNK_BYTES, max(entry.size_bytes, 1)):
            return entry.size_bytes
        partial = self._disk.begin_file(entry.path, entry.size_bytes)
        try:
            missing = partial.missing_chunks(entry, self._cancel.check)
        finally:
            partial.close()
        return sum(entry.chunk_length(index) for index in missing)


def unseen(root: str) -> str:
    """Why nothing is done about a file that is linked into a store's directory that is not there."""
    return f"linked into {root}, which cannot be seen"


def _settled(entry: Entry, act: Callable[[], _Answer]) -> _Answer | Refuse:
    """What `act` gives; trouble with one entry is that entry's and not the run's."""
    try:
        return act()
    except Stopped:
        raise
    except Failure as failure:
        return Refuse(entry, failure.detail or failure.subject, failure.problem)
    except OSError as error:
        return Refuse(entry, f"cannot be looked at: {error.strerror or error}", problems.DISK_ERROR)


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

"""Compares what lies on the disk with a manifest, entry by entry; what a restore, a verification and a repair act on.

Reads only. The answer is a list of actions in the manifest's order, one for each entry.
"""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from zimage_syncd.decide.damage import is_damaged_pointer
from zimage_syncd.digest import PIECE_BYTES, FileDigests, hash_chunk
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.manifest import CHUNK_BYTES, MAX_POINTER_BYTES, FileEntry, LinkEntry, Manifest, PointerEntry
from zimage_syncd.model.plan import Action, Fetch, Keep, Link, Refuse, Repair, SetMode
from zimage_syncd.ports import Absent, Cancel, Clock, Disk, FileStat, Ledger, OnBytes, Other, SeenFile, SeenLink

_THREADS = min(8, os.cpu_count() or 1)


class Depth(enum.Enum):
    """How closely files are looked at."""

    QUICK = "quick"
    """Presence, size, permissions, links."""
    KNOWN = "known"
    """The same, and every file that the ledger does not know unchanged is read."""
    DEEP = "deep"
    """Every byte is read."""


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
        """
        self._disk = disk
        self._ledger = ledger
        self._clock = clock
        self._cancel = cancel
        self._linked_roots = linked_roots
        self._replace_dead_links = replace_dead_links
        self._replace_links = replace_links
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self.read_bytes = 0

    def examine(self, manifest: Manifest, depth: Depth) -> list[Action]:
        """One action for each entry, in order.

        Raises:
            Stopped: somebody asked to stop.
        """

        def one(entry: FileEntry | LinkEntry | PointerEntry) -> Action:
            self._cancel.check()
            try:
                return self._entry(entry, depth)
            except Stopped:
                raise
            except Failure as failure:
                return Refuse(entry, failure.detail or failure.subject, failure.problem)

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="examine") as pool:
            return list(pool.map(one, manifest.entries))

    def _entry(self, entry: FileEntry | LinkEntry | PointerEntry, depth: Depth) -> Action:
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

    def _file(self, entry: FileEntry, depth: Depth) -> Action:
        match self._disk.look(entry.path):
            case Absent():
                return Fetch(entry, "missing", self._fetch_bytes(entry))
            case SeenLink(target):
                return self._linked(entry, target, depth)
            case Other(what):
                return Fetch(entry, f"expected a file, found {what}", self._fetch_bytes(entry))
            case SeenFile(stat):
                return self._present(entry, stat, depth)

    def _linked(self, entry: FileEntry, target: str, depth: Depth) -> Action:
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
        try:
            size = os.fstat(descriptor).st_size
            if size != entry.size_bytes:
                reason = f"linked to {target}, which has {size} bytes, expected {entry.size_bytes}"
                return Fetch(entry, reason, entry.size_bytes, problems.FILE_SIZE)
            bad = self._bad_chunks(descriptor, entry) if depth is Depth.DEEP else []
        finally:
            os.close(descriptor)
        if bad:
            reason = f"linked to {target}, of which {_chunks(bad, entry)}"
            return Fetch(entry, reason, entry.size_bytes, problems.FILE_DAMAGED)
        return Keep(entry, f"linked to {target}")

    def _present(self, entry: FileEntry, stat: FileStat, depth: Depth) -> Action:
        if stat.size_bytes != entry.size_bytes:
            reason = f"{stat.size_bytes} bytes, expected {entry.size_bytes}"
            return self._mend(entry, stat, reason, problems.FILE_SIZE)
        known = self._ledger.lookup(entry.path, stat) if depth is Depth.KNOWN else None
        if depth is Depth.QUICK:
            reason = "there, with the right size"
            self._on_bytes(entry.size_bytes)
        elif known is not None and known.digests.chunks == entry.chunks:
            reason = f"unchanged since it was verified at {known.verified_at:%Y-%m-%d %H:%M:%S} UTC"
            self._on_bytes(entry.size_bytes)
        else:
            damage = self._read(entry, stat)
            if damage is not None:
                return damage
            reason = "read and right"
        # A hard link's mode is its store's affair: correcting it here would change it there.
        if stat.mode != entry.mode and stat.links == 1:
            return SetMode(entry, f"mode {stat.mode:o}, expected {entry.mode:o}")
        return Keep(entry, reason)

    def _read(self, entry: FileEntry, stat: FileStat) -> Action | None:
        descriptor = self._disk.open_read(entry.path)
        try:
            bad = self._bad_chunks(descriptor, entry)
        finally:
            os.close(descriptor)
        if bad:
            return self._mend(entry, stat, _chunks(bad, entry), problems.FILE_DAMAGED, tuple(bad))
        self._record(entry, stat)
        return None

    def _record(self, entry: FileEntry, stat: FileStat) -> None:
        after = self._disk.look(entry.path)
        if isinstance(after, SeenFile) and after.stat == stat:
            digests = FileDigests(entry.size_bytes, entry.sha256, "", entry.chunks)
            self._ledger.record(entry.path, stat, digests, self._clock.now())

    def _mend(
        self,
        entry: FileEntry,
        stat: FileStat,
        reason: str,
        problem: problems.Problem,
        bad: tuple[int, ...] | None = None,
    ) -> Action:
        """A repair; where the bad chunks are not known yet, the file is read to find them."""
        if bad is None:
            descriptor = self._disk.open_read(entry.path)
            try:
                bad = tuple(self._bad_chunks(descriptor, entry))
            finally:
                os.close(descriptor)
        written_by_others = not self._ledger.was_good(entry.path, stat.mtime_ns, entry.sha256)
        fetch_bytes = sum(entry.chunk_length(index) for index in bad)
        return Repair(entry, reason, bad, fetch_bytes, written_by_others, problem)

    def _bad_chunks(self, descriptor: int, entry: FileEntry) -> list[int]:
        buffer = memoryview(bytearray(PIECE_BYTES))
        bad = []
        for index, digest in enumerate(entry.chunks):
            self._cancel.check()
            length = entry.chunk_length(index)
            try:
                good = hash_chunk(descriptor, index, length, buffer) == digest
            except OSError:
                good = False  # a chunk that the disk cannot give is a damaged one
            if not good:
                bad.append(index)
            with self._lock:
                self.read_bytes += length
            self._on_bytes(length)
        return bad

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


def _chunks(bad: list[int], entry: FileEntry) -> str:
    shown = ", ".join(str(index + 1) for index in bad[:8]) + (", …" if len(bad) > 8 else "")
    noun = "chunk" if len(bad) == 1 else "chunks"
    verb = "is" if len(bad) == 1 else "are"
    return f"{noun} {shown} of {len(entry.chunks)} {verb} damaged"


def needed_bytes(actions: list[Action], occupied: Callable[[FileEntry], int], *, linked: bool) -> int:
    """Additional disk space that carrying the actions out takes at most.

    Args:
        actions: what is going to be done.
        occupied: bytes that an entry's partial occupies already.
        linked: whether payload that is fetched arrives as a link.
    """
    total = 0
    for action in actions:
        if isinstance(action, Repair) or (isinstance(action, Fetch) and not linked):
            total += max(0, action.entry.size_bytes - occupied(action.entry))
    return total

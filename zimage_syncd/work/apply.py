"""Carries a snapshot's actions out: payload first, then links, pointers last.

A library that looks in the middle finds either no snapshot or a whole one: `refs` come when everything else is there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from zimage_syncd.digest import FileDigests
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, FileDamaged, LinkModeUnsupported, PathUnreadable, Stopped
from zimage_syncd.model.manifest import Entry, FileEntry, LinkEntry, PointerEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Fetch, Keep, Link, LinkMode, Refuse, Repair, SetMode, SnapshotPlan
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import (
    Cancel,
    ChunkSource,
    Clock,
    Disk,
    FileStat,
    Lease,
    Ledger,
    ManifestShelf,
    Monitor,
    Partial,
    Pullers,
    SeenFile,
)
from zimage_syncd.work.at_hand import find_at_hand
from zimage_syncd.work.gathering import Gather, Gathered
from zimage_syncd.work.transfer import Transfer

_A_PORTION = 2000
"""Actions that are under way together: each holds some objects until its file has its final name."""

_AT_THE_TOP = RelPath("trial")
"""Stands for the cache directory itself, where reflinks are tried."""


@dataclass(slots=True)
class Applied:
    """What was done for one snapshot."""

    failed: dict[str, Finding] = field(default_factory=dict)
    """Why entries are not what they should be, by path."""
    findings: list[Finding] = field(default_factory=list)
    """Sources that served something wrong."""
    gathered: Gathered = field(default_factory=Gathered)
    """What the transfer did, but for the files: those that failed are in `failed`."""
    finished: list[FileEntry] = field(default_factory=list)
    """Files that have their final names, where somebody asks for them."""
    linked_bytes: int = 0
    """Payload that arrived as a link."""
    linked_files: int = 0
    """The same, in files."""


class Applier:
    """Carries actions out on one cache."""

    def __init__(
        self,
        disk: Disk,
        ledger: Ledger,
        shelf: ManifestShelf,
        clock: Clock,
        monitor: Monitor,
        cancel: Cancel,
        lease: Lease,
        pullers: Pullers,
    ) -> None:
        self._disk = disk
        self._ledger = ledger
        self._shelf = shelf
        self._clock = clock
        self._monitor = monitor
        self._cancel = cancel
        self._lease = lease
        self._pullers = pullers

    def apply(
        self,
        plan: SnapshotPlan,
        sources: Sequence[ChunkSource],
        awaited: Iterable[RelPath] = (),
        brought: Sequence[FileEntry] = (),
        *,
        more_to_come: bool = False,
    ) -> Applied:
        """Does what the plan says; what failed is in the result, and the rest is done.

        Args:
            plan: one snapshot's.
            sources: where chunks come from.
            awaited: payload of other snapshots of the same run, whose partials are gone on with later.
            brought: files that the same run has brought: their chunks are at hand, recorded or not.
            more_to_come: whether the same run will ask for what this plan has brought.

        Raises:
            Stopped: somebody asked to stop; partials stay for the next run.
            DataDiskTaken: another host has taken the data disk over.
        """
        done = Applied()
        kept = (action.entry for action in plan.actions if isinstance(action, Keep))
        right = itertools.chain((entry for entry in kept if isinstance(entry, FileEntry)), brought)
        repaired = (action for action in plan.actions.changes() if isinstance(action, Repair))
        at_hand = find_at_hand(self._disk, self._shelf, partial(_payload_of, plan), right, repaired)
        with self._pullers.team(sources, plan.fetch_bytes) as team:
            transfer = Transfer(sources, self._clock, self._monitor, self._cancel, at_hand, team=team)
            for finished in self._portions(plan, sources, transfer, done):
                if more_to_come:
                    done.finished.extend(finished)
        # Of a file that failed, its failure says as much; and so it does of a store that kept it back.
        told = {(finding.problem, finding.subject) for finding in done.failed.values()}
        told.update((finding.problem, path) for path, finding in done.failed.items())
        done.findings.extend(item for item in done.gathered.findings if (item.problem, item.subject) not in told)
        self._links(plan.actions.changes(), done)
        self._pointers(plan.actions.changes(), done)
        self._disk.sweep_partials(
            itertools.chain((entry.path for entry in plan.manifest.entries), (_AT_THE_TOP,)),
            keep=[*(file.path for file in plan.manifest.files if file.path in done.failed), *awaited],
        )
        return done

    def _portions(
        self, plan: SnapshotPlan, sources: Sequence[ChunkSource], transfer: Transfer, done: Applied
    ) -> Iterator[list[FileEntry]]:
        """Brings the payload, and yields of each portion the files that have their final names."""
        changes = plan.actions.changes()
        while portion := list(itertools.islice(changes, _A_PORTION)):
            gathers = self._begun(portion, plan.mode, sources, done)
            gathered = transfer.run(gathers)
            done.failed.update({path: finding_of(failure) for path, failure in gathered.failed.items()})
            done.gathered.read_bytes, done.gathered.findings = gathered.read_bytes, gathered.findings
            finished = [gather.file for gather in gathers if gather.file.path in gathered.finished]
            self._record(finished, gathered)
            yield finished

    def _begun(
        self, actions: Sequence[Action], mode: LinkMode, sources: Sequence[ChunkSource], done: Applied
    ) -> list[Gather]:
        """Does what needs no transfer, and gives what does."""
        gathers: list[Gather] = []
        for action in actions:
            match action:
                case Fetch() | Repair():
                    self._payload(action, mode, sources, gathers, done)
                case SetMode(entry):
                    self._attempt(entry, done, partial(self._set_mode, entry))
                case Refuse(entry, reason, problem):
                    done.failed[entry.path] = Finding(problem, entry.path, reason)
                case Keep() | Link():
                    pass
        return gathers

    def _attempt(self, entry: Entry, done: Applied, act: Callable[[], object]) -> bool:
        try:
            act()
        except Stopped:
            raise
        except Failure as failure:
            done.failed[entry.path] = finding_of(failure)
            return False
        return True

    def _set_mode(self, entry: FileEntry) -> None:
        stat = self._disk.set_mode(entry.path, entry.mode)
        self._remember(entry, stat)

    def _payload(
        self,
        action: Fetch | Repair,
        mode: LinkMode,
        sources: Sequence[ChunkSource],
        gathers: list[Gather],
        done: Applied,
    ) -> None:
        entry = action.entry
        # Only the first source is linked to: the plan's mode is what that one allows.
        local = sources[0].local_path(entry) if sources else None
        linking = mode in {LinkMode.SYMLINK, LinkMode.HARDLINK, LinkMode.REFLINK}
        if isinstance(action, Fetch) and linking and local is not None:
            self._cancel.check()
            act = self._reflink if mode is LinkMode.REFLINK else partial(self._place, mode=mode)
            if self._attempt(entry, done, partial(act, entry, local)):
                done.linked_bytes += entry.size_bytes
                done.linked_files += 1
                self._monitor.advance(entry.size_bytes)
            return
        seed = local if isinstance(action, Fetch) and mode is LinkMode.AUTO else None
        gathers.append(self._gather(action, seed))

    def _place(self, entry: FileEntry, local: str, *, mode: LinkMode) -> None:
        _check_size(local, entry)
        self._disk.place(entry.path, local, mode)

    def _reflink(self, entry: FileEntry, local: str) -> None:
        _check_size(local, entry)
        with _opened(local) as source:
            if not self._disk.can_reflink(local):
                raise LinkModeUnsupported(f"{self._disk.root}/{entry.path}", f"no reflink from {local}")
            begun = self._disk.begin_file(entry.path, entry.size_bytes, like=source)
            try:
                if not begun.reflink(source):
                    begun.discard()
                    raise LinkModeUnsupported(f"{self._disk.root}/{entry.path}", f"no reflink from {local}")
                self._disk.finish_file(begun, entry.mode, keep_old=False)
            finally:
                begun.close()

    def _gather(self, action: Fetch | Repair, seed: str | None) -> Gather:
        entry = action.entry

        def begin() -> Partial:
            if seed is not None:
                with _opened(seed) as source:
                    return self._disk.begin_file(entry.path, entry.size_bytes, like=source)
            if isinstance(action, Repair) and self._disk.partial_bytes(entry.path) == 0:
                return self._begin_as_present(entry)
            return self._disk.begin_file(entry.path, entry.size_bytes)

        keep_old = isinstance(action, Repair) and action.quarantine
        return Gather(
            entry,
            begin,
            lambda begun: begun.missing_chunks(entry, self._cancel.check),
            lambda begun: self._disk.finish_file(begun, entry.mode, keep_old=keep_old),
            keep_failed=isinstance(action, Fetch),
        )

    def _begin_as_present(self, entry: FileEntry) -> Partial:
        """A new partial with the content that is to be mended.

        Where extents can be shared, nothing is preallocated: a disk without room for a second copy has room for them.
        """
        try:
            present = self._disk.open_read(entry.path)
        except FileNotFoundError:
            return self._disk.begin_file(entry.path, entry.size_bytes)
        try:
            begun = self._disk.begin_file(entry.path, entry.size_bytes, like=present)
            try:
                begun.clone(present)  # where they are shared by now, it finds nothing to copy
            except BaseException:
                begun.close()
                raise
            return begun
        finally:
            os.close(present)

    def _record(self, files: Sequence[FileEntry], gathered: Gathered) -> None:
        """Keeps what was just proved; a finished file's time of modification is one that no later write can give it."""
        for file in files:
            stat = gathered.finished[file.path]
            seen = self._disk.look(file.path)
            if isinstance(seen, SeenFile) and seen.stat == stat:
                self._remember(file, seen.stat, settled=True)

    def _remember(self, entry: FileEntry, stat: FileStat, *, settled: bool = False) -> None:
        digests = FileDigests(entry.size_bytes, entry.sha256, "", entry.chunks)
        self._ledger.record(entry.path, stat, digests, self._clock.now(), settled=settled)

    def _links(self, actions: Iterable[Action], done: Applied) -> None:
        for action in actions:
            if isinstance(action, Link) and isinstance(action.entry, LinkEntry):
                entry = action.entry
                self._attempt(entry, done, partial(self._disk.make_link, entry.path, entry.target))

    def _pointers(self, actions: Iterable[Action], done: Applied) -> None:
        """Pointers are made only for a whole snapshot: a library takes a reference for a hit."""
        if done.failed:
            return
        self._lease.confirm()
        links = [action for action in actions if isinstance(action, Link) and isinstance(action.entry, PointerEntry)]
        for action in sorted(links, key=lambda action: "/refs/" in action.entry.path):
            entry = action.entry
            if isinstance(entry, PointerEntry):
                damaged = action.problem is problems.POINTER_DAMAGED
                make = partial(self._disk.make_pointer, replace=damaged)
                self._attempt(entry, done, partial(make, entry.path, entry.text, entry.mode))


def _payload_of(plan: SnapshotPlan) -> Iterator[FileEntry]:
    return (action.entry for action in plan.actions.changes() if isinstance(action, Fetch | Repair))


def finding_of(failure: Failure) -> Finding:
    """The finding that a failure about one entry amounts to."""
    return Finding(failure.problem, failure.subject, failure.detail)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise PathUnreadable(path, str(error.strerror)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check_size(local: str, entry: FileEntry) -> None:
    with _opened(local) as descriptor:
        size = os.fstat(descriptor).st_size
    if size != entry.size_bytes:
        raise FileDamaged(local, f"{size} bytes, expected {entry.size_bytes}")

"""A cache directory with everything that jobs need to work on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zimage_syncd.model.failures import Failure
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LocalSnapshot, RepoId, SnapshotKey
from zimage_syncd.ports import (
    Alone,
    Cancel,
    Clock,
    Disk,
    Layout,
    Lease,
    Ledger,
    ManifestShelf,
    Monitor,
    Pullers,
    ReferenceShelf,
    Unshared,
)
from zimage_syncd.work.apply import Applier
from zimage_syncd.work.examine import Examiner
from zimage_syncd.work.look import Look
from zimage_syncd.work.rate import Rate, Unlimited


@dataclass(frozen=True, slots=True)
class Survey:
    """What a cache holds."""

    snapshots: tuple[LocalSnapshot, ...]
    """Those that were found, sorted by key."""
    troubles: tuple[Failure, ...]
    """Directories that could not be listed; their snapshots are not among the others."""

    def hides(self, path: str) -> bool:
        """Whether an absolute path lies in a directory that could not be listed."""
        real = os.path.realpath(path)
        return any(f"{real}/".startswith(f"{failure.subject}/") for failure in self.troubles)


@dataclass(frozen=True, slots=True)
class Site:
    """What a job works on and with."""

    disk: Disk
    """The cache."""
    ledger: Ledger
    """What is known of its files."""
    shelf: ManifestShelf
    """The last good manifests."""
    layouts: Sequence[Layout]
    """What the cache's files mean."""
    clock: Clock
    """Time."""
    monitor: Monitor
    """Is told how far a job is."""
    cancel: Cancel
    """A wish to stop."""
    host: str
    """This machine's name, for references and reports."""
    repos: tuple[RepoId, ...] = ()
    """cache.repos: what must be present; empty: whatever is there."""
    linked_roots: tuple[str, ...] = ()
    """Directories of recorded stores, into which files of the cache may be linked."""
    verify_rate: Rate = field(default_factory=Unlimited)
    """verify.rate: what a deep verification keeps to, of the cache as of a store."""
    upload_rate: Rate = field(default_factory=Unlimited)
    """backup.upload_rate: what all uploads of a job keep to together."""
    references: ReferenceShelf | None = None
    """Of pictures, by manifest; None where nothing is remembered of the place."""
    lease: Lease = field(default_factory=Unshared)
    """What keeps other hosts away; confirmed before anything is published."""
    pullers: Pullers = field(default_factory=Alone)
    """Other processes that fetch."""
    is_written: Callable[[], bool] = lambda: False
    """Whether some process has a file of the cache open for writing, as a download does."""
    begin_thread: Callable[[], None] = lambda: None
    """Called at the start of each thread that verifies; lowers its priority where nobody waits for the job."""

    def find(self) -> list[LocalSnapshot]:
        """All snapshots of the cache, sorted by key.

        Raises:
            PathUnreadable, DiskError: a directory cannot be listed.
        """
        found = self.survey()
        if found.troubles:
            raise found.troubles[0]
        return list(found.snapshots)

    def survey(self) -> Survey:
        """The same, as far as directories can be listed."""
        troubles: dict[str, Failure] = {}  # two layouts may meet one directory

        def on_trouble(failure: Failure) -> None:
            troubles.setdefault(failure.subject, failure)

        root, linked = self.disk.root, self.linked_roots
        found = [snapshot for layout in self.layouts for snapshot in layout.find(root, linked, on_trouble)]
        return Survey(tuple(sorted(found, key=lambda snapshot: snapshot.key)), tuple(troubles.values()))

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether some layout lets a manifest of `key` have an entry at `path`."""
        return any(key.layout in layout.names and layout.owns(key, path) for layout in self.layouts)

    def layout_of(self, key: SnapshotKey) -> Layout:
        """The layout of a snapshot."""
        return next(layout for layout in self.layouts if key.layout in layout.names)

    def meant(self, selection: Selection, found: Sequence[LocalSnapshot]) -> list[LocalSnapshot]:
        """Those of the cache's snapshots that a selection means; an id is that of the last good manifest."""
        chosen = [item for item in found if selects(selection, item.key, item.names, self.repos)]
        if selection.snapshot_id is None:
            return chosen
        return [item for item in chosen if self._recorded_as(item.key, selection.snapshot_id)]

    def _recorded_as(self, key: SnapshotKey, snapshot_id: str) -> bool:
        manifest = self.shelf.load(key)
        return manifest is not None and manifest.id.startswith(snapshot_id)

    def examiner(self, *, replace_dead_links: bool, replace_links: bool = False) -> Examiner:
        """Looks at this cache's entries; bytes that it handles are the monitor's (see `Examiner`, `Look`)."""
        look = Look(
            self.disk,
            self.ledger,
            self.clock,
            self.cancel,
            linked_roots=self.linked_roots,
            replace_dead_links=replace_dead_links,
            replace_links=replace_links,
            on_bytes=self.monitor.advance,
        )
        return Examiner(
            self.disk,
            look,
            self.cancel,
            on_bytes=self.monitor.advance,
            rate=self.verify_rate,
            begin_thread=self.begin_thread,
        )

    def applier(self) -> Applier:
        """Carries actions out on this cache."""
        return Applier(
            self.disk, self.ledger, self.shelf, self.clock, self.monitor, self.cancel, self.lease, self.pullers
        )


def selects(selection: Selection, key: SnapshotKey, names: tuple[str, ...], repos: tuple[RepoId, ...] = ()) -> bool:
    """Whether a selection means a snapshot.

    Args:
        selection: what a person named.
        key: the snapshot.
        names: its branches and tags.
        repos: what counts where the selection names no repository; empty: everything.
    """
    if selection.repo is not None:
        if key.repo != selection.repo:
            return False
    elif repos and key.repo not in repos:
        return False
    if selection.layout is not None and key.layout is not selection.layout:
        return False
    if selection.revision is None:
        return True
    abbreviated = len(selection.revision) >= 7 and key.revision.startswith(selection.revision)
    return selection.revision in names or key.revision == selection.revision or abbreviated

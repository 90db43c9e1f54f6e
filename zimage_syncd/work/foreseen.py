"""How many bytes a restore will take from sources: equal chunks once, and none that this disk has.

What is foreseen is what `Transfer` does where everything is what it seems to be; what lies on the disk under another
name and turns out to be damaged is fetched after all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Repair, SnapshotPlan
from zimage_syncd.ports import Disk, ManifestShelf
from zimage_syncd.work.at_hand import find_at_hand

_COUNTED_AT_MOST = 10_000
"""Files. With more of them the plan keeps the sum of their bytes: what is counted here takes 1 KB for each."""


class Foreseen:
    """Counts the snapshots of one restore, in the order in which they come."""

    def __init__(self, disk: Disk, shelf: ManifestShelf, check: Callable[[], None]) -> None:
        """Begins with what is on the disk.

        Args:
            disk: the cache; it is looked at only.
            shelf: the last good manifests of its snapshots.
            check: called before each chunk that is hashed; may raise to stop.
        """
        self._disk = disk
        self._shelf = shelf
        self._check = check
        self._earlier: set[str] = set()
        """Digests of the chunks of earlier snapshots: when a later one's turn comes, they are there."""

    def counted(self, snapshot: SnapshotPlan, *, shares: bool) -> SnapshotPlan:
        """The same plan, with the bytes that each file has to take from a source.

        Args:
            snapshot: one snapshot's plan.
            shares: whether a file that is missing appears by sharing the extents of the store's.
        """
        gathered = [action for action in snapshot.actions.changes() if isinstance(action, Fetch | Repair)]
        if len(gathered) > _COUNTED_AT_MOST:
            return snapshot
        if snapshot.links_payload:
            gathered = [action for action in gathered if isinstance(action, Repair)]
        lacking = {action.entry.path: self._lacking(action, shares=shares) for action in gathered}
        here = self._here(snapshot, gathered, lacking)
        counted: dict[str, Action] = {}
        for action in gathered:
            entry = action.entry
            wanted = {entry.chunks[index]: entry.chunk_length(index) for index in lacking[entry.path]}
            fetch_bytes = sum(length for digest, length in wanted.items() if digest not in here)
            here.update(wanted)
            counted[entry.path] = replace(action, fetch_bytes=fetch_bytes)
        self._earlier.update(digest for file in snapshot.manifest.files for digest in file.chunks)
        actions = (counted.get(item.entry.path, item) for item in snapshot.actions)
        return replace(snapshot, actions=Actions(snapshot.manifest.entries, actions))

    def _lacking(self, action: Fetch | Repair, *, shares: bool) -> set[int]:
        """Indexes of the chunks that a file's partial lacks when it has been opened."""
        entry = action.entry
        if isinstance(action, Repair):
            # One that is there is gone on with, else it begins as a copy of the file; what is right in that is at hand.
            begun = self._disk.partial_bytes(entry.path) > 0
            return set(self._disk.missing_chunks(entry, self._check) if begun else action.chunks)
        if action.missing is not None:
            return set(action.missing)
        return set() if shares else set(range(len(entry.chunks)))

    def _here(
        self, snapshot: SnapshotPlan, gathered: Sequence[Fetch | Repair], lacking: Mapping[RelPath, set[int]]
    ) -> set[str]:
        """Digests of the chunks that no source has to give."""
        kept = (action.entry for action in snapshot.actions if isinstance(action, Keep))
        right = (entry for entry in kept if isinstance(entry, FileEntry))
        wanted = [action.entry for action in gathered]
        repaired = (action for action in gathered if isinstance(action, Repair))
        at_hand = find_at_hand(self._disk, self._shelf, lambda: wanted, right, repaired)
        return {
            digest
            for file in wanted
            for index, digest in enumerate(file.chunks)
            if index not in lacking[file.path] or digest in self._earlier or at_hand.has(digest)
        }

"""References: which snapshot is the newest under a name, and which ones were there before.

A reference is created and never replaced. The highest number wins, a tie goes by name; so all readers agree, whatever
writers do at one moment, and nothing is lost, since no reference takes another one's place. Nothing depends on
conditional writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from zimage_syncd.model.failures import ObjectMissing, StoreBroken
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import StoredSnapshot
from zimage_syncd.stores.archive_documents import (
    MAX_HOST_CHARS,
    MAX_SMALL_BYTES,
    Document,
    host_text,
    time_text,
    to_bytes,
)
from zimage_syncd.stores.archive_keys import MAX_SEQUENCE, REFS, RefKey, ref_prefix
from zimage_syncd.stores.object_store import ObjectStore

_READERS = 8
"""Threads; a reference is one small request."""

_MAX_ROUNDS = 32
"""How often a writer steps behind others that write the same name; each round, one of those at a tie is done."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a snapshot that was to be the newest."""

    stored: StoredSnapshot
    """The reference to it."""
    written: bool
    """False where it was the newest before."""


class Refs:
    """The references of an archive, or of a cache tree's records.

    Args:
        store: where they lie.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def newest(self) -> list[StoredSnapshot]:
        """The newest one of every layout, repository and name, sorted by these."""
        places: defaultdict[SnapshotKey, list[RefKey]] = defaultdict(list)
        for ref in self._scan(REFS):
            places[ref.place].append(ref)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="refs") as pool:
            found = list(pool.map(self._first, (places[place] for place in sorted(places))))
        return [stored for stored in found if stored is not None]

    def history(self, place: SnapshotKey) -> list[StoredSnapshot]:
        """All that ever were under a name, the newest first."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="refs") as pool:
            found = list(pool.map(self._read_or_key, _newest_first(self._scan(ref_prefix(place)))))
        return [stored for stored in found if stored is not None]

    def is_newest(self, place: SnapshotKey, manifest_id: str) -> bool:
        """Whether a manifest is the newest one under a name, by a reference that can be read."""
        newest = self._newest_key(place)
        return newest is not None and newest.manifest_id == manifest_id and self._whole(newest) is not None

    def append(self, place: SnapshotKey, manifest_id: str, host: str, created_at: datetime) -> Appended:
        """Makes a manifest the newest one under a name, unless it is.

        After its write, a writer looks again. Where its number is shared, the one with the lower name writes again,
        with the next number and the other as parent; the one with the higher name has nothing to do, so two that see
        each other do not chase each other. Where somebody has a higher number already, that one came later.

        Args:
            place: layout, repository, and the name as the revision.
            manifest_id: whose manifest and blobs are in the store.
            host: who writes, for people.
            created_at: now, UTC.

        Raises:
            StoreBroken: there is no number left.
        """
        created_at = created_at.astimezone(UTC).replace(microsecond=0)
        newest = self._newest_key(place)
        if newest is not None and newest.manifest_id == manifest_id:
            stored = self._whole(newest)
            if stored is not None:
                return Appended(stored, written=False)
        for _ in range(_MAX_ROUNDS):
            mine = self._write(place, manifest_id, newest, host, created_at)
            newest = self._newest_key(place) or mine
            if newest.order <= mine.order or newest.sequence > mine.sequence:
                break
        return Appended(_stored(mine, host_text(host), created_at), written=True)

    def _write(
        self, place: SnapshotKey, manifest_id: str, parent: RefKey | None, host: str, created_at: datetime
    ) -> RefKey:
        sequence = 1 if parent is None else parent.sequence + 1
        if sequence > MAX_SEQUENCE:
            raise StoreBroken(f"{self._store.describe()}/{ref_prefix(place)}", f"the number {MAX_SEQUENCE} is taken")
        mine = RefKey(place, sequence, manifest_id)
        document: dict[str, object] = {
            "manifest": manifest_id,
            "parent": None if parent is None else parent.key,
            "created_at": time_text(created_at),
            "host": host_text(host),
        }
        # False: somebody else recorded the same manifest with the same number, which is as good.
        self._store.create(mine.key, to_bytes(document))
        return mine

    def _newest_key(self, place: SnapshotKey) -> RefKey | None:
        return max(self._scan(ref_prefix(place)), key=lambda ref: ref.order, default=None)

    def _scan(self, prefix: str) -> Iterable[RefKey]:
        for info in self._store.scan(prefix):
            ref = RefKey.parse(info.key)
            if ref is not None:
                yield ref

    def _first(self, refs: list[RefKey]) -> StoredSnapshot | None:
        for ref in _newest_first(refs):
            stored = self._read_or_key(ref)
            if stored is not None:
                return stored
        return None

    def _read_or_key(self, ref: RefKey) -> StoredSnapshot | None:
        """One reference; of one whose content cannot be understood, what its key says.

        The key holds all that a restore needs, and the manifest is checked against its id: a torn reference must not
        take a whole store away from somebody who has just lost everything else.
        """
        try:
            return self._read(ref)
        except StoreBroken:
            info = self._store.head(ref.key)
            return None if info is None else _stored(ref, "", info.modified_at)

    def _whole(self, ref: RefKey) -> StoredSnapshot | None:
        """One reference; None where it is gone or cannot be understood, so that another one puts that right."""
        try:
            return self._read(ref)
        except StoreBroken:
            return None

    def _read(self, ref: RefKey) -> StoredSnapshot | None:
        """One reference; None where it was deleted since it was listed."""
        try:
            document = Document(self._store, ref.key, MAX_SMALL_BYTES)
        except ObjectMissing:
            return None
        if document.value("manifest") != ref.manifest_id:
            raise document.broken("manifest", f"{ref.manifest_id}, as its name says")
        parent = document.value("parent")
        known = RefKey.parse(parent) if isinstance(parent, str) else None
        if parent is not None and (known is None or known.place != ref.place or known.sequence >= ref.sequence):
            raise document.broken("parent", "an earlier reference of the same name, or null")
        return _stored(ref, document.text("host", MAX_HOST_CHARS), document.time("created_at"))


def _newest_first(refs: Iterable[RefKey]) -> list[RefKey]:
    return sorted(refs, key=lambda ref: ref.order, reverse=True)


def _stored(ref: RefKey, host: str, created_at: datetime) -> StoredSnapshot:
    place = ref.place
    return StoredSnapshot(
        layout=place.layout,
        repo=place.repo,
        name=place.revision,
        manifest_id=ref.manifest_id,
        created_at=created_at,
        host=host,
        sequence=ref.sequence,
    )

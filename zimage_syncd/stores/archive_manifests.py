"""The manifests of an archive, or of a cache tree's records: found by their ids, trusted only when they hold.

A manifest has to hash to its id, be valid, lie where its snapshot belongs, and have no path that its layout does not
know: what a store says becomes a place on disk only here.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol, runtime_checkable

from zimage_syncd.model.failures import ManifestInvalid, NotInStore, ObjectMissing, UsageInvalid
from zimage_syncd.model.manifest import MAX_MANIFEST_BYTES, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.stores.archive_keys import MANIFESTS, ManifestKey, is_sha256
from zimage_syncd.stores.object_store import ObjectStore

_MIN_PREFIX_CHARS = 8

_SMALL_BYTES = 2**20
_PIECE_BYTES = 2**18

_Place = tuple[ManifestKey, int]
"""Where a manifest lies, and how many bytes it has there."""

Owns = Callable[[SnapshotKey, RelPath], bool]
"""Whether a manifest of a snapshot may have an entry at a path; the layouts know."""


@runtime_checkable
class TakesPieces(Protocol):
    """A store to which an object can be given without ever being in memory as a whole."""

    def put_pieces(self, key: str, pieces: Iterable[bytes]) -> None:
        """Writes or replaces an object, as `ObjectStore.put` does."""


class Manifests:
    """Finds, reads and writes manifests.

    Args:
        store: where they lie.
        owns: what the layouts say.
    """

    def __init__(self, store: ObjectStore, owns: Owns) -> None:
        self._store = store
        self._owns = owns
        self._lock = threading.Lock()
        self._places: dict[str, tuple[_Place, ...]] = {}

    def ids(self) -> Iterator[str]:
        """All ids, each once."""
        seen: set[str] = set()
        for key, _ in self._scan():
            if key.manifest_id not in seen:
                seen.add(key.manifest_id)
                yield key.manifest_id

    def find_ids(self, prefix: str) -> list[str]:
        """All ids that begin with 8 and more digits, sorted.

        Raises:
            UsageInvalid: it is no beginning of an id, or too short to tell ids apart.
        """
        if len(prefix) < _MIN_PREFIX_CHARS or not is_sha256(prefix.ljust(64, "0")):
            expected = f"expected {_MIN_PREFIX_CHARS} to 64 hexadecimal digits of a snapshot's id"
            raise UsageInvalid(repr(prefix)[:100], expected)
        return sorted(found for found in self.ids() if found.startswith(prefix))

    def load(self, manifest_id: str) -> Manifest:
        """A manifest, validated.

        Raises:
            NotInStore: there is none of this id.
            ManifestCorrupt: its content is another one.
            ManifestInvalid: it cannot be trusted.
        """
        found: Manifest | None = None
        for key, size_bytes in self._located(manifest_id):
            try:
                found = Manifest.from_pieces(partial(self._pieces, key.key, size_bytes), manifest_id)
            except ObjectMissing:
                continue
            if (found.key.layout, found.key.repo) == (key.layout, key.repo):
                self._check_paths(found)
                return found
        where = self._store.describe()
        if found is not None:
            raise ManifestInvalid(f"{where}: {manifest_id}", f"it lies under another name than {found.key}")
        raise NotInStore(repr(manifest_id)[1:101], f"{where} has no manifest of this id")

    def _pieces(self, key: str, size_bytes: int) -> Iterator[bytes]:
        """A small one in one request; a large one as it comes, for the whole of it would be a second copy."""
        if size_bytes <= _SMALL_BYTES or size_bytes > MAX_MANIFEST_BYTES:
            yield self._store.get(key, MAX_MANIFEST_BYTES)
            return
        info = self._store.head(key)  # a backup may have written it again since it was listed
        if info is None:
            raise ObjectMissing(key, f"{self._store.describe()} has it no more")
        buffer = memoryview(bytearray(_PIECE_BYTES))
        for piece in self._store.read(key, 0, min(info.size_bytes, MAX_MANIFEST_BYTES + 1), buffer):
            yield bytes(piece)

    def save(self, manifest: Manifest) -> None:
        """Writes a manifest unless it is there: its key says its content."""
        if self.has(manifest):
            return
        if isinstance(self._store, TakesPieces):
            self._store.put_pieces(_key_of(manifest), manifest.pieces())
        else:
            self._store.put(_key_of(manifest), manifest.to_bytes())

    def has(self, manifest: Manifest) -> bool:
        """Whether a manifest is there, as far as its key and its size tell."""
        info = self._store.head(_key_of(manifest))
        return info is not None and info.size_bytes == manifest.json_bytes

    def _located(self, manifest_id: str) -> tuple[_Place, ...]:
        if not is_sha256(manifest_id):
            return ()
        with self._lock:
            known = self._places.get(manifest_id, ())
        return known or self._survey().get(manifest_id, ())

    def _survey(self) -> dict[str, tuple[_Place, ...]]:
        places: defaultdict[str, tuple[_Place, ...]] = defaultdict(tuple)
        for place in self._scan():
            places[place[0].manifest_id] += (place,)
        with self._lock:
            self._places = dict(places)
            return self._places

    def _scan(self) -> Iterator[_Place]:
        for info in self._store.scan(MANIFESTS):
            key = ManifestKey.parse(info.key)
            if key is not None:
                yield key, info.size_bytes

    def _check_paths(self, manifest: Manifest) -> None:
        for entry in manifest.entries:
            if not self._owns(manifest.key, entry.path):
                raise ManifestInvalid(entry.path, f"no entry of {manifest.key} may lie there")


def _key_of(manifest: Manifest) -> str:
    return ManifestKey(manifest.key.layout, manifest.key.repo, manifest.id).key

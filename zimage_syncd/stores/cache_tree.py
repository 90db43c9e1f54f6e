"""A cache tree as a source: a plain path, such as a shared mount, that libraries use directly. Reads only.

Its manifests lie beside the payload in `.zimage-syncd/`, in the form that archives have. A tree without them, which
somebody just copied there, is listed by what the layouts find, and recorded by hashing it only when it is wanted.
Others write to the tree, so no path is followed through links, and what is read is for the caller to verify.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from zimage_syncd.digest import FileDigests
from zimage_syncd.model.failures import NotInStore, StoreMissing
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import CannotTell, Complete, LayoutName, LocalSnapshot, RepoId, SnapshotKey
from zimage_syncd.ports import Layout, OnBytes, StoredSnapshot
from zimage_syncd.recording import record
from zimage_syncd.stores.archive_manifests import Manifests
from zimage_syncd.stores.archive_refs import Refs
from zimage_syncd.stores.object_store import ObjectStore
from zimage_syncd.stores.tree_files import TreeFiles

_HASHERS = 4
"""Files that are hashed at a time; one thread gives about 0.7 GB/s of SHA-256 and BLAKE3 together."""


class CacheTree:
    """A `ports.SnapshotSource`; safe to use from several threads.

    Args:
        name: as configured.
        root: absolute path of the tree.
        layouts: what its files mean.
        records: the object store `<root>/.zimage-syncd`, which need not exist.
    """

    def __init__(self, name: str, root: str, layouts: Sequence[Layout], records: ObjectStore) -> None:
        self._name = name
        self._files = TreeFiles(root)
        self._layouts = tuple(layouts)
        self._refs = Refs(records)
        self._manifests = Manifests(records, self._owns)
        self._lock = threading.Lock()
        self._hashed: dict[str, Manifest] = {}

    @property
    def name(self) -> str:
        """As configured."""
        return self._name

    def describe(self) -> str:
        """Its path."""
        return self._files.root

    def modes(self) -> frozenset[LinkMode]:
        """All of them: its payload are files."""
        return frozenset({LinkMode.SYMLINK, LinkMode.HARDLINK, LinkMode.REFLINK, LinkMode.COPY})

    def snapshots(self) -> list[StoredSnapshot]:
        """The newest snapshot of every layout, repository and name, sorted by these. Hashes nothing.

        What was recorded under a name counts; what lies there unrecorded, and is whole as far as can be told, has
        the manifest id "" and the sequence 0: `manifest_of` records it.

        Raises:
            StoreMissing, StoreDenied, StoreUnreachable: the tree cannot be seen.
            PathUnreadable: a directory of it cannot be listed.
        """
        self._files.check()
        found = {_place(stored): stored for stored in self._recorded()}
        for local in self._whole():
            for place in _places(local):
                if place not in found:
                    found[place] = self._unrecorded(local, place)
        return [found[place] for place in sorted(found)]

    def history(self, layout: LayoutName, repo: RepoId, name: str) -> list[StoredSnapshot]:
        """All that were recorded under one name, the newest first; else what lies there unrecorded."""
        self._files.check()
        place = SnapshotKey(layout, repo, name)
        try:
            recorded = self._refs.history(place)
        except StoreMissing:
            recorded = []
        return recorded or [self._unrecorded(local, place) for local in self._whole() if place in _places(local)]

    def manifest(self, manifest_id: str) -> Manifest:
        """The manifest of a recorded snapshot, or of one that `manifest_of` has hashed.

        Raises:
            NotInStore: there is none of this id.
            ManifestInvalid, ManifestCorrupt: it cannot be trusted.
        """
        with self._lock:
            hashed = self._hashed.get(manifest_id)
        if hashed is not None:
            return hashed
        self._files.check()
        try:
            return self._manifests.load(manifest_id)
        except StoreMissing as error:  # of the records; the tree was seen
            raise NotInStore(repr(manifest_id)[1:101], f"{self.describe()} has no records") from error

    def manifest_of(self, stored: StoredSnapshot, on_bytes: OnBytes) -> Manifest:
        """The manifest of what `snapshots` listed; where it is unrecorded, all its files are read and hashed now.

        Args:
            stored: which one.
            on_bytes: is told of every byte read, from several threads; may raise to stop.

        Raises:
            FileDamaged: a file is not what its publisher says.
            FileChanging: a file changed while it was read.
            NotInStore: it is there no more, or not whole.
            ManifestInvalid, ManifestCorrupt: its record cannot be trusted.
        """
        if stored.manifest_id:
            return self.manifest(stored.manifest_id)
        self._files.check()
        place = _place(stored)
        local = next((local for local in self._whole() if place in _places(local)), None)
        if local is None:
            raise NotInStore(str(place), f"{self.describe()} has it no more, or not whole")
        digests = self._digests(local, on_bytes)
        manifest = record(local, lambda _number, file: digests[file.path])
        with self._lock:
            self._hashed[manifest.id] = manifest
        return manifest

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes of a file from `offset`, in views of `buffer`. Nothing is verified.

        Raises:
            BlobMissing: nothing lies there, or a link or something else that is no file.
            StoreMissing, StoreDenied, StoreUnreachable: as their names say.
            StoreBroken: the file ends before.
        """
        return self._files.read(file.path, offset, length, buffer)

    def local_path(self, file: FileEntry) -> str | None:
        """Absolute path of a file, where it is one of the right size and no link lies on the way."""
        return self._files.local_path(file)

    def _owns(self, key: SnapshotKey, path: RelPath) -> bool:
        return any(key.layout in layout.names and layout.owns(key, path) for layout in self._layouts)

    def _recorded(self) -> list[StoredSnapshot]:
        try:
            return self._refs.newest()
        except StoreMissing:  # of the records; the tree was seen
            return []

    def _whole(self) -> Iterator[LocalSnapshot]:
        """What lies there and may be taken."""
        for layout in self._layouts:
            yield from filter(_is_whole, layout.find(self._files.root, ()))

    def _unrecorded(self, local: LocalSnapshot, place: SnapshotKey) -> StoredSnapshot:
        return StoredSnapshot(
            layout=place.layout,
            repo=place.repo,
            name=place.revision,
            manifest_id="",
            created_at=datetime.fromtimestamp(self._files.modified_s(local.directory), UTC),
            host="",
            sequence=0,
        )

    def _digests(self, local: LocalSnapshot, on_bytes: OnBytes) -> dict[str, FileDigests]:
        with ThreadPoolExecutor(_HASHERS, thread_name_prefix="record") as pool:
            futures = {file.path: pool.submit(self._files.digests, file, on_bytes) for file in local.files}
            try:
                return {path: future.result() for path, future in futures.items()}
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _place(stored: StoredSnapshot) -> SnapshotKey:
    return SnapshotKey(stored.layout, stored.repo, stored.name)


def _places(local: LocalSnapshot) -> list[SnapshotKey]:
    """Under which names a snapshot is found."""
    return [SnapshotKey(local.key.layout, local.key.repo, name) for name in local.names or (local.key.revision,)]


def _is_whole(local: LocalSnapshot) -> bool:
    """Whether everything is there, as far as can be told."""
    state = local.completeness
    return isinstance(state, Complete) or (isinstance(state, CannotTell) and state.satisfied)

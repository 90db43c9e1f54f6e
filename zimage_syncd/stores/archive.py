"""Archives, format 1 (docs/format.md), in any object store: blobs, manifests, references.

Blobs come first, the manifest second, references last, so that a reader never sees a snapshot whose bytes are not all
there. Whatever a store says is checked and bounded before it is believed; nothing depends on conditional writes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping

from zimage_syncd.model.failures import StoreBroken, StoreDenied
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.picture import Reference
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import LayoutName, RepoId, SnapshotKey
from zimage_syncd.ports import BlobInfo, BlobUpload, Clock, OnBytes, StoredSnapshot, Strained
from zimage_syncd.stores.archive_blobs import Blobs
from zimage_syncd.stores.archive_intents import Intents, OpenIntent
from zimage_syncd.stores.archive_keys import MARKER_KEY, blob_key
from zimage_syncd.stores.archive_manifests import Manifests, Owns
from zimage_syncd.stores.archive_marker import prepare_archive, require_archive
from zimage_syncd.stores.archive_pictures import Pictures
from zimage_syncd.stores.archive_refs import Refs
from zimage_syncd.stores.object_store import ObjectStore, OpenUpload, Reopenable, Resuming


class ObjectArchive:
    """A `ports.Archive`; safe to use from several threads.

    Args:
        name: as configured.
        store: where its objects lie.
        clock: time.
        owner: whose backups these are: one cache's id, for which only one process works at a time.
        layouts_own: whether a manifest of a snapshot may have an entry at a path.
        host: this machine's name, for intents; empty: the owner.
    """

    def __init__(
        self, name: str, store: ObjectStore, clock: Clock, owner: str, layouts_own: Owns, host: str = ""
    ) -> None:
        self._name = name
        self._store = store
        self._clock = clock
        self._blobs = Blobs(store)
        self._refs = Refs(store)
        self._manifests = Manifests(store, layouts_own)
        self._pictures = Pictures(store)
        self._intents = Intents(store, clock, owner, host or owner)
        self._checked = threading.Event()

    @property
    def name(self) -> str:
        """As configured."""
        return self._name

    def describe(self) -> str:
        """Its address without secrets, for people."""
        return self._store.describe()

    def modes(self) -> frozenset[LinkMode]:
        """HARDLINK and REFLINK where its objects are files on a mounted file system."""
        files = self._store.local_path(MARKER_KEY) is not None
        return frozenset({LinkMode.HARDLINK, LinkMode.REFLINK}) if files else frozenset()

    def prepare(self) -> None:
        """Makes the archive if it is not there, checks its format, removes own intents that a crash left.

        Raises:
            FormatUnknown: another version wrote it, or something else lies there.
            StoreMissing, StoreDenied, StoreUnreachable: it cannot be written to.
        """
        prepare_archive(self._store, self._clock.now())
        self._checked.set()
        self._store.sweep_own()
        self._intents.remove_own()
        self._blobs.look_at_prunes()

    def snapshots(self) -> list[StoredSnapshot]:
        """The newest snapshot of every layout, repository and name, sorted by these.

        Raises:
            NotAnArchive: there is none at this address.
        """
        self._require()
        return self._refs.newest()

    def history(self, layout: LayoutName, repo: RepoId, name: str) -> list[StoredSnapshot]:
        """All that ever were under one name, the newest first."""
        self._require()
        return self._refs.history(SnapshotKey(layout, repo, name))

    def manifest_of(self, stored: StoredSnapshot, on_bytes: OnBytes) -> Manifest:  # noqa: ARG002 - nothing is hashed
        """The manifest of what `snapshots` listed (see `manifest`)."""
        return self.manifest(stored.manifest_id)

    def manifest(self, manifest_id: str) -> Manifest:
        """A snapshot's manifest, validated.

        Raises:
            NotInStore: there is none of this id.
            ManifestInvalid, ManifestCorrupt: it cannot be trusted.
        """
        self._require()
        return self._manifests.load(manifest_id)

    def manifest_ids(self) -> Iterator[str]:
        """Ids of all manifests, referred to or not."""
        self._require()
        return self._manifests.ids()

    def find_ids(self, prefix: str) -> list[str]:
        """All ids that begin with 8 and more digits, sorted.

        Raises:
            UsageInvalid: it is no beginning of an id, or too short.
        """
        self._require()
        return self._manifests.find_ids(prefix)

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes of a file from `offset`, in views of `buffer`. Nothing is verified.

        Raises:
            BlobMissing: its blob is not there.
            StoreBroken: its blob ends before.
        """
        return self._blobs.read(file, offset, length, buffer)

    def recipe(self) -> bytes | None:
        """What another process opens its store by (see `ports.Reopenable`)."""
        return self._store.recipe() if isinstance(self._store, Reopenable) else None

    def address_of(self, file: FileEntry) -> str:
        """How that process calls a file's blob."""
        key = blob_key(file.sha256)
        return self._store.address_of(key) if isinstance(self._store, Reopenable) else key

    def setbacks(self) -> int:
        """How often the store was asked for too much (see `ports.Strained`)."""
        return self._store.setbacks() if isinstance(self._store, Strained) else 0

    def local_path(self, file: FileEntry) -> str | None:
        """Absolute path of a file's blob on a mounted file system, where it has one of the right size."""
        return self._blobs.local_path(file)

    def blob(self, sha256: str) -> BlobInfo | None:
        """Whether a blob is there, and how large; None, too, for one that a prune is about to delete."""
        return self._blobs.find(sha256)

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs, candidates for deletion included."""
        self._require()
        return self._blobs.all()

    def put_blob(self, sha256: str, data: bytes, *, replace: bool = False) -> None:
        """Writes a small blob whose digest was checked, unless it is there; with `replace` also then."""
        self._require()
        self._blobs.put(sha256, data, replace=replace)

    def begin_blob(self, sha256: str, size_bytes: int) -> BlobUpload:
        """Begins a large one. The caller completes it only when the bytes that it sent hash to `sha256`."""
        self._require()
        return self._store.begin_upload(blob_key(sha256), size_bytes)

    def resume_blob(self, sha256: str, size_bytes: int, upload_id: str, marks: Mapping[int, str]) -> BlobUpload | None:
        """Goes on with an upload that an earlier process began; None where the store cannot (see `ports.Archive`)."""
        self._require()
        if not isinstance(self._store, Resuming):
            return None
        return self._store.resume_upload(blob_key(sha256), size_bytes, upload_id, marks)

    def abort_uploads(self, sha256: str, upload_id: str | None) -> int:
        """Gives up unfinished uploads of one blob, and returns how many.

        Args:
            sha256: the blob.
            upload_id: which one; None: all of them, unless a live intent of another owner lists the blob.
        """
        key = blob_key(sha256)
        if upload_id is not None:
            # Given up even where it is not listed: some servers list uploads late or not at all, or not to everybody.
            found: list[OpenUpload] = []
            with contextlib.suppress(StoreBroken, StoreDenied):
                found = self._store.open_uploads(key)
            known = [upload for upload in found if (upload.key, upload.id) == (key, upload_id)]
            self._store.abort_upload(OpenUpload(key, upload_id, self._clock.now()))
            return len(known)
        found = [upload for upload in self._store.open_uploads(key) if upload.key == key]
        if not found or self._intents.needed_by_others(sha256):
            return 0
        for upload in found:
            self._store.abort_upload(upload)
        return len(found)

    def announce(self, blobs: Iterable[str]) -> OpenIntent:
        """Says that a backup relies on these blobs (their sha256)."""
        self._require()
        return self._intents.announce(blobs)

    def holds(self, manifest: Manifest, names: tuple[str, ...]) -> bool:
        """Whether this is the newest snapshot under all these names, with every blob there (see `ports.Archive`).

        What the newest reference needs is never deleted, so nothing has to be announced for this answer.
        """
        self._require()
        newest = all(self._refs.is_newest(place, manifest.id) for place in _places(manifest, names))
        return newest and self._manifests.has(manifest) and self._blobs.has_all(manifest)

    def publish(self, manifest: Manifest, names: tuple[str, ...], host: str) -> list[StoredSnapshot]:
        """Writes the manifest, then one reference for each name whose newest one is another.

        Args:
            manifest: of a snapshot whose blobs are all in the store.
            names: branches and tags; none: the revision.
            host: who publishes, for people.

        Raises:
            BlobMissing: a blob of the manifest is not in the store, or has another size.
        """
        self._require()
        self._blobs.require_all(manifest)
        self._manifests.save(manifest)
        now = self._clock.now()
        done = [self._refs.append(place, manifest.id, host, now) for place in _places(manifest, names)]
        if any(appended.written for appended in done):
            # A prune that read the references before they were there may have deleted since.
            self._blobs.require_all(manifest)
        return [appended.stored for appended in done]

    def reference_names(self, manifest: Manifest) -> list[str]:
        """The names of a snapshot's reference pictures, sorted (see `ports.KeepsReferences`)."""
        self._require()
        return self._pictures.names(manifest)

    def reference(self, manifest: Manifest, name: str) -> tuple[Reference, bytes]:
        """One of them and its PNG, validated.

        Raises:
            ObjectMissing: there is none, or no PNG.
            StoreBroken: it cannot be trusted.
        """
        self._require()
        return self._pictures.load(manifest, name)

    def understands_reference(self, manifest: Manifest, name: str) -> bool:
        """Whether a reference's document can be trusted; its PNG is not read."""
        return self._pictures.understands(manifest, name)

    def put_reference(self, manifest: Manifest, reference: Reference, picture: bytes) -> bool:
        """Writes one and its PNG; False where one is there, too many are, or the manifest is not."""
        self._require()
        return self._manifests.has(manifest) and self._pictures.save(manifest, reference, picture)

    def _require(self) -> None:
        if not self._checked.is_set():
            require_archive(self._store)
            self._checked.set()


def _places(manifest: Manifest, names: tuple[str, ...]) -> list[SnapshotKey]:
    """Under which names a snapshot is referred to."""
    key = manifest.key
    return [SnapshotKey(key.layout, key.repo, name) for name in names or (key.revision,)]

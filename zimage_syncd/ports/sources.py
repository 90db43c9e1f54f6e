"""Where snapshots and chunks come from, and where backups go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import LayoutName, RepoId, SnapshotKey
from zimage_syncd.ports.progress import OnBytes
from zimage_syncd.ports.uploads import BlobUpload


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """The newest snapshot that a source has under one name."""

    layout: LayoutName
    """How it lay on disk."""
    repo: RepoId
    """The repository."""
    name: str
    """Branch, tag, or commit where there is neither."""
    manifest_id: str
    """The snapshot's id."""
    created_at: datetime
    """When the reference was written, UTC, by its writer's clock."""
    host: str
    """Who wrote it."""
    sequence: int
    """Its number in the history of this name, from 1."""


class ChunkSource(Protocol):
    """Anything that chunks can be read from; safe to use from several threads."""

    @property
    def name(self) -> str:
        """As configured, such as `bucket`."""

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes of a file from `offset`, in views of `buffer`. Nothing is verified.

        Empty views are signs of life of a source that takes its time.

        Raises:
            BlobMissing: the source does not have the file.
            StoreUnreachable, StoreDenied, StoreBroken: as their names say.
        """

    def local_path(self, file: FileEntry) -> str | None:
        """Absolute path of a file with exactly this content on a mounted file system, if the source has one."""


@runtime_checkable
class Reserved(Protocol):
    """A source that may be one for what no other source has right, such as a hub."""

    def is_reserved(self) -> bool:
        """Whether it is never read from for speed alone."""


@runtime_checkable
class Strained(Protocol):
    """A source that can tell when it is asked for too much."""

    def setbacks(self) -> int:
        """How often so far it asked for less (503, SlowDown), did not answer in time, or broke off."""


class SnapshotSource(ChunkSource, Protocol):
    """A source that knows whole snapshots."""

    def describe(self) -> str:
        """Its address without secrets, for people."""

    def modes(self) -> frozenset[LinkMode]:
        """The ways in which its payload may arrive besides copy."""

    def snapshots(self) -> list[StoredSnapshot]:
        """The newest snapshot of every layout, repository and name, sorted by these.

        Raises:
            NotAnArchive: there is none at this address.
        """

    def history(self, layout: LayoutName, repo: RepoId, name: str) -> list[StoredSnapshot]:
        """All that ever were under one name, the newest first."""

    def manifest_of(self, stored: StoredSnapshot, on_bytes: OnBytes) -> Manifest:
        """The manifest of what `snapshots` listed; where a cache tree has none (id ""), its files are hashed now.

        Args:
            stored: which one.
            on_bytes: is told of every byte read for it, from several threads; may raise to stop.

        Raises:
            FileDamaged: a file of the tree is not what its publisher says.
            NotInStore, ManifestInvalid, ManifestCorrupt: as with `manifest`.
        """

    def manifest(self, manifest_id: str) -> Manifest:
        """A snapshot's manifest, validated.

        Raises:
            NotInStore: there is none of this id.
            ManifestInvalid, ManifestCorrupt: it cannot be trusted.
        """


class Hub(Protocol):
    """A publisher's hub: it has no manifests, but gives the bytes of files that a manifest of its own layout names."""

    @property
    def name(self) -> str:
        """As restore.order calls it."""

    def serves(self, key: SnapshotKey) -> bool:
        """Whether this hub's library has laid the snapshot out."""

    def for_manifest(self, manifest: Manifest) -> ChunkSource:
        """Its payload, at the manifest's revision. Nothing is imported, and nobody is asked, before the first read."""


class Intent(Protocol):
    """The announcement that a backup relies on blobs; renewed while it is open, deleted when it is closed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def renew(self) -> None:
        """Writes it again when it is older than 5 minutes; cheap to call often."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """One blob of an archive."""

    sha256: str
    """Its name."""
    size_bytes: int
    """What the store says."""


class Archive(SnapshotSource, Protocol):
    """A store that backups are written to (docs/format.md)."""

    def prepare(self) -> None:
        """Makes the archive if it is not there, checks its format, removes own intents that a crash left.

        Raises:
            FormatUnknown: another version wrote it.
        """

    def blob(self, sha256: str) -> BlobInfo | None:
        """Whether a blob is there, and how large."""

    def blobs(self) -> Iterator[BlobInfo]:
        """All blobs."""

    def manifest_ids(self) -> Iterator[str]:
        """Ids of all manifests, referred to or not."""

    def put_blob(self, sha256: str, data: bytes, *, replace: bool = False) -> None:
        """Writes a small blob whose digest was checked, unless it is there; with `replace` also then."""

    def begin_blob(self, sha256: str, size_bytes: int) -> BlobUpload:
        """Begins a large one. The caller completes it only when the bytes that it sent hash to `sha256`."""

    def resume_blob(self, sha256: str, size_bytes: int, upload_id: str, marks: Mapping[int, str]) -> BlobUpload | None:
        """Goes on with an upload that an earlier process began (then a `ResumedUpload`, too).

        Args:
            sha256: the blob.
            size_bytes: its size.
            upload_id: the store's own name for the upload.
            marks: of the parts that were sent, by number.

        Returns:
            None where there is nothing to go on with: the store keeps no parts, or has lost these.
        """

    def abort_uploads(self, sha256: str, upload_id: str | None) -> int:
        """Gives up unfinished uploads of one blob, and returns how many.

        Args:
            sha256: the blob.
            upload_id: which one; None: all of them, unless a live intent of another owner lists the blob.
        """

    def announce(self, blobs: Iterable[str]) -> Intent:
        """Says that a backup relies on these blobs (their sha256)."""

    def holds(self, manifest: Manifest, names: tuple[str, ...]) -> bool:
        """Whether this is the newest snapshot under all these names (none: its revision), with every blob there."""

    def publish(self, manifest: Manifest, names: tuple[str, ...], host: str) -> list[StoredSnapshot]:
        """Writes the manifest, then one reference for each name whose newest one is another.

        Raises:
            BlobMissing: a blob of the manifest is not in the store, or has another size.
        """

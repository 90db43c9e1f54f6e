"""The small protocols that jobs need: who implements them is known to `wiring.py` alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from zimage_syncd.digest import FileDigests
from zimage_syncd.model.health import HealthRequest, HealthResult
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Report
from zimage_syncd.model.snapshot import LayoutName, LocalSnapshot, RepoId, SnapshotKey

OnBytes = Callable[[int], None]
"""Is told how many more bytes were handled."""


class Clock(Protocol):
    """Time, passed in so that tests can hold it."""

    def now(self) -> datetime:
        """Wall clock, UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Waits."""


class Cancel(Protocol):
    """A wish to stop, looked at between chunks."""

    def check(self) -> None:
        """Goes on, or raises.

        Raises:
            Stopped: somebody asked to stop.
        """


class Monitor(Protocol):
    """Is told how far a job is; safe to call from several threads."""

    def begin(self, task: str, total_bytes: int) -> None:
        """A task starts, such as `restore Tongyi-MAI/Z-Image-Turbo`."""

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of the task are done; negative where some have to be done again."""

    def note(self, text: str) -> None:
        """A sentence for people."""

    def finish(self) -> None:
        """The task has ended."""


class Layout(Protocol):
    """What the files of a library's cache mean. Reads only."""

    @property
    def names(self) -> frozenset[LayoutName]:
        """The layouts that this one knows."""

    def find(self, root: str, linked_roots: tuple[str, ...]) -> list[LocalSnapshot]:
        """All snapshots below a directory, complete or not, sorted by key.

        Args:
            root: absolute path of a cache directory.
            linked_roots: absolute paths of recorded stores; an absolute symlink into one of them is a file that was
                linked by `restore --mode symlink`. No other link is followed out of `root`.

        Raises:
            PathUnreadable: a directory of the cache cannot be listed.
        """

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether a manifest of `key` may have an entry at `path`."""

    def directory(self, manifest: Manifest) -> RelPath:
        """What `from_pretrained` takes, from the cache directory."""


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

        Raises:
            BlobMissing: the source does not have the file.
            StoreUnreachable, StoreDenied, StoreBroken: as their names say.
        """

    def local_path(self, file: FileEntry) -> str | None:
        """Absolute path of a file with exactly this content on a mounted file system, if the source has one."""


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


class BlobUpload(Protocol):
    """A blob that is being uploaded in parts (see `stores.object_store.Upload`)."""

    @property
    def id(self) -> str:
        """The store's own name for the upload."""

    @property
    def part_bytes(self) -> int:
        """Size of every part but the last: a multiple of 16 MiB."""

    def put_part(self, number: int, body: PartBody) -> None:
        """Sends part `number` (from 1)."""

    def complete(self) -> None:
        """Makes the blob appear."""

    def abort(self) -> None:
        """Gives it up."""


class PartBody(Protocol):
    """A part's bytes: read in order, gone back in when a request is repeated."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` more bytes; b"" at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to `offset` within the part."""

    def tell(self) -> int:
        """The present position within the part."""

    def __len__(self) -> int:
        """Bytes of the part."""


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

    def put_blob(self, sha256: str, data: bytes) -> None:
        """Writes a small blob whose digest was checked."""

    def begin_blob(self, sha256: str, size_bytes: int) -> BlobUpload:
        """Begins a large one. The caller completes it only when the bytes that it sent hash to `sha256`."""

    def abort_uploads(self, sha256: str, upload_id: str | None) -> int:
        """Gives up unfinished uploads of one blob, and returns how many.

        Args:
            sha256: the blob.
            upload_id: which one; None: all of them, unless a live intent of another owner lists the blob.
        """

    def announce(self, blobs: Iterable[str]) -> Intent:
        """Says that a backup relies on these blobs (their sha256)."""

    def publish(self, manifest: Manifest, names: tuple[str, ...], host: str) -> list[StoredSnapshot]:
        """Writes the manifest, then one reference for each name whose newest one is another.

        Raises:
            BlobMissing: a blob of the manifest is not in the store, or has another size.
        """


@dataclass(frozen=True, slots=True)
class FileStat:
    """What `lstat` says of a payload file."""

    inode: int
    """st_ino."""
    size_bytes: int
    """st_size."""
    mtime_ns: int
    """st_mtime_ns."""
    ctime_ns: int
    """st_ctime_ns."""
    mode: int
    """Permission bits, 0 to 0o777."""
    links: int = 1
    """st_nlink: more than 1 where the file is hard-linked elsewhere."""


def file_stat(status: os.stat_result) -> FileStat:
    """The part of a stat by which a change is noticed."""
    return FileStat(
        inode=status.st_ino,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        mode=status.st_mode & 0o777,
        links=status.st_nlink,
    )


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing lies there."""


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A regular file lies there."""

    stat: FileStat
    """Its stat."""


@dataclass(frozen=True, slots=True)
class SeenLink:
    """A symlink lies there."""

    target: str
    """Its text."""


@dataclass(frozen=True, slots=True)
class Other:
    """Something else lies there."""

    what: str
    """`a directory` or `a special file`."""


Seen = Absent | SeenFile | SeenLink | Other


class Partial(Protocol):
    """A file on its way: gathered in a hidden file beside its place until every chunk counts."""

    @property
    def path(self) -> RelPath:
        """Where it will be."""

    def write(self, offset: int, data: memoryview) -> None:
        """Writes a piece where it belongs; from any thread."""

    def missing_chunks(self, file: FileEntry, check: Callable[[], None]) -> list[int]:
        """Indexes of the chunks that do not count yet, found by hashing what is there."""

    def clone(self, source: int) -> bool:
        """Takes over the content of an open file; True where extents are shared and nothing was copied."""

    def reflink(self, source: int) -> bool:
        """Shares all extents of an open file; False where the file system cannot."""

    def discard(self) -> None:
        """Removes it."""

    def close(self) -> None:
        """Lets go of it; it stays for the next run."""


class Disk(Protocol):
    """A cache directory that may be written to (see `disk/write.py`)."""

    @property
    def root(self) -> str:
        """The absolute path of the cache directory."""

    def make_root(self) -> None:
        """Makes the cache directory, where it is missing."""

    def free_bytes(self) -> int:
        """What an ordinary user can still write."""

    def look(self, path: RelPath) -> Seen:
        """What lies at `path` itself; raises UnsafePath where a directory on the way is a symlink."""

    def open_read(self, path: RelPath) -> int:
        """A descriptor of a regular file, for reading; raises FileNotFoundError where nothing is there."""

    def begin_file(self, path: RelPath, size_bytes: int) -> Partial:
        """Opens the partial of `path`, made and preallocated where it is not there."""

    def partial_bytes(self, path: RelPath) -> int:
        """Bytes that the partial of `path` occupies on the disk already."""

    def finish_file(self, partial: Partial, mode: int, *, keep_old: bool) -> FileStat:
        """Gives a partial of which every chunk counts its final name; `keep_old`: what lay there goes to quarantine."""

    def set_mode(self, path: RelPath, mode: int) -> FileStat:
        """Corrects a file's permissions."""

    def make_link(self, path: RelPath, target: str) -> None:
        """Makes or replaces a relative symlink; a file that lies there goes to quarantine."""

    def make_pointer(self, path: RelPath, text: str) -> bool:
        """Writes a pointer where there is none; False where one is there, which is never touched."""

    def place(self, path: RelPath, source: str, mode: LinkMode) -> None:
        """Lets a store's file appear by SYMLINK or HARDLINK, without reading it."""

    def sweep_partials(self, beside: Iterable[RelPath], keep: Iterable[RelPath]) -> int:
        """Removes partials beside these payload paths, except those of `keep`; returns how many."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What was once computed of a file that has not changed since, as far as its stat tells."""

    digests: FileDigests
    """sha256 and chunks; git_sha1 is empty."""
    verified_at: datetime
    """When all of it was last read and hashed."""


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that this cache began and has not finished."""

    store: str
    """The store's name."""
    sha256: str
    """The blob."""
    upload_id: str | None
    """The store's own name for it; None where the process ended before it was known."""


class Ledger(Protocol):
    """What has been verified when, on the data disk; a hint that may be lost at any time."""

    def lookup(self, path: RelPath, stat: FileStat) -> LedgerEntry | None:
        """What is known of a file, unless its stat has changed since."""

    def was_good(self, path: RelPath, mtime_ns: int, sha256: str) -> bool:
        """Whether a file was recorded with this content and this time of modification.

        If so, other content under the same time is the disk's doing and nobody's work.
        """

    def record(self, path: RelPath, stat: FileStat, digests: FileDigests, verified_at: datetime) -> None:
        """Keeps what was just computed. Does nothing for a file that changed less than 2 s before."""

    def forget(self, path: RelPath) -> None:
        """Removes what is known of a file."""

    def begin_upload(self, store: str, sha256: str) -> None:
        """An upload is about to begin."""

    def know_upload(self, store: str, sha256: str, upload_id: str) -> None:
        """The store has named it."""

    def end_upload(self, store: str, sha256: str) -> None:
        """It was completed or aborted."""

    def pending_uploads(self, store: str) -> list[PendingUpload]:
        """What a crash left."""


class ReportStore(Protocol):
    """Where reports are kept, on the data disk."""

    def save(self, report: Report) -> str:
        """Keeps a report; returns its absolute path."""


class Probe(Protocol):
    """The health check's own process."""

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        """Runs one health check and waits for its end; never raises for what the check finds."""


class ManifestShelf(Protocol):
    """The last good manifest of every snapshot, kept on the data disk."""

    def load(self, key: SnapshotKey) -> Manifest | None:
        """The last good manifest of one snapshot; None where there is none that can be trusted."""

    def save(self, manifest: Manifest) -> None:
        """Keeps a manifest as the last good one."""

    def keys(self) -> list[SnapshotKey]:
        """All snapshots that have one."""

"""The blobs of an archive: whole files under their sha256, immutable, written before anything refers to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from zimage_syncd.model.failures import BlobMissing, ObjectMissing
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.ports import BlobInfo
from zimage_syncd.stores.archive_keys import BLOBS, blob_key, blob_of
from zimage_syncd.stores.archive_prune import Candidates
from zimage_syncd.stores.object_store import ObjectStore

_CHECKERS = 8
"""Threads that ask for blobs; each question is one small request."""

_LISTED_FROM = 500
"""From so many blobs on they are looked for in a listing, of which one request gives 1,000 (S3's ListObjectsV2)."""

_LISTED_AT_MOST = 100
"""Listed objects for each blob that is looked for: in an archive of millions, questions are the shorter way."""

_SIZE_BYTES = 8

_NAMED = 3
"""How many missing blobs a message names; the rest is counted."""


class Blobs:
    """Finds, reads and writes blobs.

    Args:
        store: where they lie.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._candidates: Candidates | None = None

    def look_at_prunes(self) -> None:
        """Reads which blobs are about to be deleted; `find` does not see those from here on.

        Raises:
            StoreBroken: a list of candidates cannot be understood.
        """
        self._candidates = Candidates(self._store)

    def find(self, sha256: str) -> BlobInfo | None:
        """Whether a blob is there to stay, and how large."""
        info = self._store.head(blob_key(sha256))
        if info is None or (self._candidates is not None and self._candidates.has(sha256, info)):
            return None
        return BlobInfo(sha256, info.size_bytes)

    def all(self) -> Iterator[BlobInfo]:
        """All blobs, candidates for deletion included."""
        for info in self._store.scan(BLOBS):
            sha256 = blob_of(info.key)
            if sha256 is not None:
                yield BlobInfo(sha256, info.size_bytes)

    def put(self, sha256: str, data: bytes, *, replace: bool = False) -> None:
        """Writes a small one whose digest was checked, unless it is there to stay; with `replace` also then."""
        present = None if replace else self.find(sha256)
        if present is None or present.size_bytes != len(data):
            self._store.put(blob_key(sha256), data)

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields a range of a file (see `ports.ChunkSource.read`).

        Raises:
            BlobMissing: its blob is not there.
            StoreBroken: its blob ends before.
        """
        try:
            yield from self._store.read(blob_key(file.sha256), offset, length, buffer)
        except ObjectMissing as error:
            raise BlobMissing(file.path, f"{self._store.describe()} has no blob {file.sha256}") from error

    def local_path(self, file: FileEntry) -> str | None:
        """Absolute path of a file's blob on a mounted file system, where it has one of the right size."""
        key = blob_key(file.sha256)
        path = self._store.local_path(key)
        info = self._store.head(key) if path is not None else None
        return path if info is not None and info.size_bytes == file.size_bytes else None

    def require_all(self, manifest: Manifest) -> None:
        """Makes sure that every file of a manifest has its blob, of the right size.

        Raises:
            BlobMissing: some have not; it names the first ones.
        """
        if bad := self._objections(manifest):
            more = f" (and {len(bad) - _NAMED} more)" if len(bad) > _NAMED else ""
            raise BlobMissing(f"{self._store.describe()}: {manifest.key}", "; ".join(bad[:_NAMED]) + more)

    def has_all(self, manifest: Manifest) -> bool:
        """Whether every file of a manifest has its blob, of the right size."""
        return not self._objections(manifest)

    def _objections(self, manifest: Manifest) -> list[str]:
        missing: set[bytes] | None = None
        if len(manifest.files) >= _LISTED_FROM:
            missing = self._not_listed({_mark(sha256, size_bytes) for sha256, size_bytes in manifest.blobs()})
            if not missing:
                return []
        # What a listing lacks is asked for by itself: not every store lists at once what was just written.
        marked = ((_mark(bytes.fromhex(file.sha256), file.size_bytes), file) for file in manifest.files)
        wanted = {mark: file for mark, file in marked if missing is None or mark in missing}
        with ThreadPoolExecutor(_CHECKERS, thread_name_prefix="blobs") as pool:
            return [objection for objection in pool.map(self._objection, wanted.values()) if objection]

    def _not_listed(self, wanted: set[bytes]) -> set[bytes]:
        """Which of the wanted ones a listing lacks; it is ended when none is left, or when it becomes too long."""
        for info in itertools.islice(self._store.scan(BLOBS), _LISTED_AT_MOST * len(wanted)):
            if sha256 := blob_of(info.key):
                wanted.discard(_mark(bytes.fromhex(sha256), info.size_bytes))
            if not wanted:
                break
        return wanted

    def _objection(self, file: FileEntry) -> str:
        info = self._store.head(blob_key(file.sha256))
        if info is None:
            return f"{file.path}: there is no blob {file.sha256}"
        if info.size_bytes != file.size_bytes:
            return f"{file.path}: blob {file.sha256} has {info.size_bytes} bytes, expected {file.size_bytes}"
        return ""


def _mark(sha256: bytes, size_bytes: int) -> bytes:
    """A blob and its size, in 40 bytes: of 100,000 the entries themselves would be 50 MB."""
    return sha256 + size_bytes.to_bytes(_SIZE_BYTES)

"""What an archive needs of the place that keeps its objects: the protocol of all object stores.

Every adapter passes one contract suite (tests/stores). Each translates its library's exceptions into
`StoreMissing`, `StoreDenied`, `StoreUnreachable`, `ObjectMissing`, `StoreBroken` or `DeviceFull`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from zimage_syncd.ports import BlobUpload


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing."""

    key: str
    """Below the store's prefix; POSIX separators."""
    size_bytes: int
    """Its content's."""
    modified_at: datetime
    """By the server's clock, UTC."""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that was begun and neither completed nor aborted."""

    key: str
    """The object that it would become."""
    id: str
    """The store's own name for it."""
    started_at: datetime
    """By the server's clock, UTC."""


Upload = BlobUpload
"""An object that is being written in parts; nobody sees it before `complete`."""


class ObjectStore(Protocol):
    """Immutable and small mutable objects under keys; safe to use from several threads."""

    def describe(self) -> str:
        """Its address without secrets, for people."""

    def check(self) -> None:
        """Makes sure that it can be reached.

        Raises:
            StoreMissing: bucket or directory is not there.
            StoreDenied: the credentials do not suffice.
            StoreUnreachable: no answer.
        """

    def get(self, key: str, max_bytes: int) -> bytes:
        """A whole small object.

        Raises:
            ObjectMissing: there is none.
            StoreBroken: it is larger than `max_bytes`.
        """

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes from `offset`, in views of `buffer` that hold until the next one.

        A connection that breaks half-way is taken up where it stopped, a bounded number of times.

        Raises:
            ObjectMissing: there is none.
            StoreBroken: it ends before.
        """

    def put(self, key: str, data: bytes) -> None:
        """Writes or replaces a small object; a reader sees the old or the new one, whole."""

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object that must not exist; False where one is there.

        Two creators at one moment may both be told True where the store has no working conditional write: callers
        make keys unique themselves.
        """

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None."""

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order of their keys (code points)."""

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens where there is none."""

    def now(self) -> datetime:
        """The server's clock, UTC."""

    def begin_upload(self, key: str, size_bytes: int) -> Upload:
        """Begins to write an object of `size_bytes` in parts."""

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        """Uploads under `prefix` that nobody has completed or aborted."""

    def abort_upload(self, upload: OpenUpload) -> None:
        """Gives an upload up, whoever began it."""

    def sweep_own(self) -> int:
        """Removes the hidden files that a crash of this owner left; returns how many.

        Nothing happens where unfinished objects leave nothing behind, or where nobody can tell whose they are: there
        the ledger knows what was begun.
        """

    def local_path(self, key: str) -> str | None:
        """The absolute path of the object's file where it is one on a mounted file system, else None."""


@runtime_checkable
class Reopenable(Protocol):
    """An object store that another process of this program can read from as well."""

    def recipe(self) -> bytes:
        """What that process opens it by."""

    def address_of(self, key: str) -> str:
        """How it calls an object."""


@runtime_checkable
class Resuming(Protocol):
    """An object store that keeps the parts of an upload when the process that sent them is gone.

    Hidden files do not count: what a crash left of one cannot be told from what it should be without reading it.
    """

    def resume_upload(self, key: str, size_bytes: int, upload_id: str, marks: Mapping[int, str]) -> Upload | None:
        """Goes on with an upload (see `ports.Archive.resume_blob`); None where it is gone or has no part."""

"""An object store in this process's memory, for tests and the demonstration: nothing outlives the process."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from zimage_syncd.model.failures import ObjectMissing, StoreBroken
from zimage_syncd.ports import PartBody
from zimage_syncd.stores.keys import checked_key, checked_prefix
from zimage_syncd.stores.object_store import ObjectInfo, OpenUpload
from zimage_syncd.stores.parts import Parts, pieces_of


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    modified_at: datetime


@dataclass(slots=True)
class _Content:
    """What stores and uploads share."""

    lock: Lock = field(default_factory=Lock)
    objects: dict[str, _Object] = field(default_factory=dict)
    uploads: dict[str, OpenUpload] = field(default_factory=dict)


class MemoryStore:
    """Objects in a dictionary.

    Args:
        clock_now: the server's clock, UTC.
    """

    def __init__(self, clock_now: Callable[[], datetime]) -> None:
        self._clock_now = clock_now
        self._content = _Content()

    def describe(self) -> str:
        """Its address without secrets, for people."""
        return "memory"

    def check(self) -> None:
        """Always good."""

    def get(self, key: str, max_bytes: int) -> bytes:
        """A whole small object (see `ObjectStore.get`)."""
        data = self._data(key)
        if len(data) > max_bytes:
            raise StoreBroken(key, f"{len(data)} bytes, expected at most {max_bytes}")
        return data

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields a range of an object (see `ObjectStore.read`)."""
        data = self._data(key)
        if len(data) < offset + length:
            raise StoreBroken(key, f"{len(data)} bytes, expected at least {offset + length}")
        for start in range(offset, offset + length, len(buffer)):
            piece = data[start : min(start + len(buffer), offset + length)]
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]

    def put(self, key: str, data: bytes) -> None:
        """Writes or replaces an object."""
        path = checked_key(key)
        with self._content.lock:
            self._content.objects[path] = _Object(bytes(data), self._clock_now())

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless one is there; exactly one of several creators is told True."""
        path = checked_key(key)
        with self._content.lock:
            if path in self._content.objects:
                return False
            self._content.objects[path] = _Object(bytes(data), self._clock_now())
            return True

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None."""
        with self._content.lock:
            found = self._content.objects.get(checked_key(key))
        return ObjectInfo(key, len(found.data), found.modified_at) if found else None

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order of their keys."""
        start = checked_prefix(prefix)
        with self._content.lock:
            found = sorted(item for item in self._content.objects.items() if item[0].startswith(start))
        return (ObjectInfo(key, len(item.data), item.modified_at) for key, item in found)

    def delete(self, key: str) -> None:
        """Removes an object if it is there."""
        with self._content.lock:
            self._content.objects.pop(checked_key(key), None)

    def now(self) -> datetime:
        """The clock that it was given."""
        return self._clock_now()

    def begin_upload(self, key: str, size_bytes: int) -> MemoryUpload:
        """Begins to write an object in parts."""
        upload = OpenUpload(checked_key(key), secrets.token_hex(8), self._clock_now())
        with self._content.lock:
            self._content.uploads[upload.id] = upload
        return MemoryUpload(self, upload, Parts.of(key, size_bytes))

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        """Uploads under `prefix` that nobody has completed or aborted."""
        start = checked_prefix(prefix)
        with self._content.lock:
            return [upload for upload in self._content.uploads.values() if upload.key.startswith(start)]

    def abort_upload(self, upload: OpenUpload) -> None:
        """Gives an upload up, whoever began it."""
        with self._content.lock:
            self._content.uploads.pop(upload.id, None)

    def sweep_own(self) -> int:
        """Nothing is left where nothing outlives the process."""
        return 0

    def local_path(self, key: str) -> str | None:  # noqa: ARG002 (the protocol's name)
        """Memory has no files."""
        return None

    def _data(self, key: str) -> bytes:
        with self._content.lock:
            found = self._content.objects.get(checked_key(key))
        if found is None:
            raise ObjectMissing(key)
        return found.data

    def _finish(self, upload: OpenUpload, data: bytes) -> None:
        with self._content.lock:
            if self._content.uploads.pop(upload.id, None) is None:
                raise StoreBroken(upload.key, "its upload was given up by somebody else")
            self._content.objects[upload.key] = _Object(data, self._clock_now())


class MemoryUpload:
    """An object of a `MemoryStore` that is being written in parts."""

    def __init__(self, store: MemoryStore, upload: OpenUpload, parts: Parts) -> None:
        self._store = store
        self._upload = upload
        self._parts = parts
        self._sent: dict[int, bytes] = {}

    @property
    def id(self) -> str:
        """The store's own name for it."""
        return self._upload.id

    @property
    def part_bytes(self) -> int:
        """Size of every part but the last."""
        return self._parts.part_bytes

    def put_part(self, number: int, body: PartBody) -> None:
        """Keeps part `number`."""
        self._parts.check(number, body)
        self._sent[number] = b"".join(pieces_of(self._upload.key, body))

    def complete(self) -> None:
        """Makes the object appear."""
        self._parts.require_all(self._sent)
        self._store._finish(self._upload, b"".join(self._sent[number] for number in sorted(self._sent)))

    def abort(self) -> None:
        """Gives it up."""
        self._sent.clear()
        self._store.abort_upload(self._upload)

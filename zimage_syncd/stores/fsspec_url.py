"""An object store behind any URL that fsspec knows: `sftp://...`, `memory://...`, `gs://...`, `webdav://...`.

Where the file system can rename, an object is written under a hidden name and renamed; elsewhere a plain write
makes it appear whole. An SFTP server without OpenSSH's posix-rename is no such place: sshfs then copies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from zimage_syncd.model.failures import (
    DeviceFull,
    ObjectMissing,
    StoreBroken,
    StoreDenied,
    StoreMissing,
)
from zimage_syncd.model.path import RelPath
from zimage_syncd.stores import keys
from zimage_syncd.stores.fsspec_connection import Connection
from zimage_syncd.stores.fsspec_listing import modified_at, walk
from zimage_syncd.stores.fsspec_read import read_range
from zimage_syncd.stores.fsspec_upload import FsspecUpload
from zimage_syncd.stores.fsspec_write import Writer
from zimage_syncd.stores.object_store import ObjectInfo, OpenUpload
from zimage_syncd.stores.parts import Parts


class FsspecStore:
    """Objects as files of an fsspec file system.

    Args:
        url: its address; the path is what all objects lie below.
        options: what the file system takes besides (`stores.*.options`).
        owner: who writes here; becomes a part of hidden names.
        sleep: waits for so many seconds between attempts.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, object],
        owner: str = "zimage-syncd",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(url, options)
        self._owner = keys.owner_mark(owner)
        self._writer = Writer(self._connection, self._owner)
        self._sleep = sleep

    def describe(self) -> str:
        """Its address without secrets, for people."""
        return self._connection.address

    def make(self) -> None:
        """Makes the root where its parent is there; does nothing where it is there, or needs no making.

        Raises:
            StoreMissing: the parent is missing, too.
        """
        self._writer.make_root()

    def check(self) -> None:
        """Makes sure that it can be reached (see `ObjectStore.check`)."""
        self._writer.require_root()
        root = self._connection.root
        with self._connection.using(self.describe()) as system:
            try:
                system.ls(root or "/", detail=False)
            except FileNotFoundError as error:
                bucket = root.partition("/")[0]
                if bucket and not system.exists(bucket):
                    raise StoreMissing(self.describe(), f"there is no {bucket}") from error

    def get(self, key: str, max_bytes: int) -> bytes:
        """A whole small object (see `ObjectStore.get`)."""
        found = self.head(key)
        if found is None:
            raise ObjectMissing(self._subject(key))
        if found.size_bytes > max_bytes:
            raise StoreBroken(self._subject(key), f"{found.size_bytes} bytes, expected at most {max_bytes}")
        with self._connection.using(self._subject(key)) as system:
            return bytes(system.cat_file(self._full(key)))

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields a range of an object (see `ObjectStore.read`)."""
        return read_range(self._connection, self._full(key), offset, length, buffer, sleep=self._sleep)

    def put(self, key: str, data: bytes) -> None:
        """Writes or replaces a small object."""
        self._writer.put(keys.checked_key(key), data)

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless one is there; two creators at one moment may both be told True."""
        return self._writer.create(keys.checked_key(key), data)

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None."""
        with self._connection.using(self._subject(key)) as system:
            system.invalidate_cache()
            try:
                info = system.info(self._full(key))
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _object(key, info) if info["type"] == "file" else None

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order of their keys."""
        return iter([_object(path, info) for path, info in self._listed(prefix) if keys.is_key(path)])

    def delete(self, key: str) -> None:
        """Removes an object if it is there."""
        self._writer.remove(keys.checked_key(key))

    def now(self) -> datetime:
        """The server's clock: the time of a file just written, or this machine's where none can be."""
        marker = self._writer.hidden(RelPath("clock"))
        try:
            self._writer.put(marker, b"")
            try:
                with self._connection.using(self.describe()) as system:
                    return modified_at(system.info(self._writer.full(marker)))
            finally:
                self._writer.remove(marker)
        except (StoreDenied, DeviceFull):
            return datetime.now(UTC)

    def begin_upload(self, key: str, size_bytes: int) -> FsspecUpload:
        """Begins to write an object into a hidden one."""
        path = keys.checked_key(key)
        return self._writer.begin_upload(path, Parts.of(path, size_bytes))

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        """Hidden files under `prefix`: unfinished uploads, and what a crash left of small objects."""
        found = []
        for path, info in self._listed(prefix):
            above, slash, name = path.rpartition("/")
            object_name = keys.object_name(name)
            if object_name is not None and (key := f"{above}{slash}{object_name}").startswith(prefix):
                found.append(OpenUpload(key, path, modified_at(info)))
        return found

    def abort_upload(self, upload: OpenUpload) -> None:
        """Gives an upload up, whoever began it."""
        path = RelPath(upload.id)
        if keys.object_name(path.name) is None:
            raise StoreBroken(upload.id, "is not the name of an unfinished object")
        self._writer.remove(path)

    def sweep_own(self) -> int:
        """Removes the hidden files that a crash of this owner left; returns how many."""
        own = [item for item in self.open_uploads("") if keys.owner_of(item.id.rpartition("/")[2]) == self._owner]
        for upload in own:
            self.abort_upload(upload)
        return len(own)

    def local_path(self, key: str) -> str | None:  # noqa: ARG002 (the protocol's name)
        """Nothing behind such a URL counts as a mounted file system."""
        return None

    def _listed(self, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Files under `prefix`, hidden ones included where these begin as their objects do."""
        start = keys.checked_prefix(prefix)
        self._writer.require_root()
        with self._connection.using(self.describe()) as system:
            found = list(walk(system, self._connection.root, start))
        return ((path, info) for path, info in found if path.startswith(start) or not keys.is_key(path))

    def _full(self, key: str) -> str:
        return self._writer.full(keys.checked_key(key))

    def _subject(self, key: str) -> str:
        return f"{self.describe()}/{key}"


def _object(key: str, info: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, int(info["size"] or 0), modified_at(info))

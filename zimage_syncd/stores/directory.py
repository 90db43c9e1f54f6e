"""An object store in a directory (`file:///...`): every object is a file below the root, under its key.

Objects appear by rename or link of a hidden file that was written and fsynced before, so that no reader and no
crash ever sees half of one. The root itself is never made by a write: on a disk that is not mounted, that would
fill the mount point.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from zimage_syncd.digest import read_pieces
from zimage_syncd.durability import sync_directory
from zimage_syncd.model.failures import DataDiskReadOnly, DeviceFull, StoreBroken, StoreDenied, StoreMissing
from zimage_syncd.model.path import RelPath
from zimage_syncd.stores import keys
from zimage_syncd.stores.directory_upload import DirectoryUpload, begin_upload
from zimage_syncd.stores.directory_walk import walk
from zimage_syncd.stores.durable import make_parents, write_new
from zimage_syncd.stores.object_store import ObjectInfo, OpenUpload
from zimage_syncd.stores.os_errors import ABSENT, failure_of, translated
from zimage_syncd.stores.parts import Parts

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer (link(2))."""


class DirectoryStore:
    """Objects as files.

    Args:
        root: the directory, absolute.
        owner: who writes here; becomes a part of hidden names, so that a crash's leftovers can be told.
    """

    def __init__(self, root: str, owner: str) -> None:
        self._root = os.path.abspath(root)
        self._owner = keys.owner_mark(owner)

    def describe(self) -> str:
        """Its address, for people."""
        return f"file://{self._root}"

    def can_be_made(self) -> bool:
        """Whether the root is missing and its parent is there."""
        return not os.path.lexists(self._root) and os.path.isdir(os.path.dirname(self._root))

    def make(self) -> None:
        """Makes the root where its parent is there; does nothing where it is there itself.

        Raises:
            StoreMissing: the parent is missing, too, so that a disk is probably not mounted.
        """
        parent = os.path.dirname(self._root)
        with translated(parent, self._root, "make the directory"):
            try:
                os.mkdir(self._root)
            except FileExistsError:
                return
            sync_directory(parent)

    def check(self) -> None:
        """Makes sure that the directory is there and can be listed (see `ObjectStore.check`)."""
        with translated(self._root, self._root, "list"):
            if not stat.S_ISDIR(os.stat(self._root).st_mode):
                raise StoreMissing(self._root, "is not a directory")
            os.scandir(self._root).close()

    def get(self, key: str, max_bytes: int) -> bytes:
        """A whole small object (see `ObjectStore.get`)."""
        path = self._path(keys.checked_key(key))
        with (
            translated(self._root, path, "read"),
            _opened(path) as descriptor,
            open(descriptor, "rb", closefd=False) as file,
        ):
            # Not `read(max_bytes + 1)`, which asks for as much memory at once.
            data = file.read(min(os.fstat(descriptor).st_size, max_bytes) + 1)
        if len(data) > max_bytes:
            raise StoreBroken(path, f"is larger than the expected {max_bytes} bytes")
        return data

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields a range of an object (see `ObjectStore.read`)."""
        path = self._path(keys.checked_key(key))
        with translated(self._root, path, "read"), _opened(path) as descriptor:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes < offset + length:
                raise StoreBroken(path, f"{size_bytes} bytes, expected at least {offset + length}")
            given = 0
            for piece in read_pieces(descriptor, offset, length, buffer):
                given += len(piece)
                yield piece
        if given < length:
            raise StoreBroken(path, f"ended after {offset + given} bytes, expected {offset + length}")

    def put(self, key: str, data: bytes) -> None:
        """Writes or replaces an object, durably."""
        self.put_pieces(key, (data,))

    def put_pieces(self, key: str, pieces: Iterable[bytes]) -> None:
        """The same, of an object that comes in pieces."""
        path = keys.checked_key(key)
        with translated(self._root, self._path(path), "write"):
            temporary = self._write_hidden(path, pieces)
            self._rename(temporary, path)

    def create(self, key: str, data: bytes) -> bool:
        """Writes an object unless one is there; exactly one of several creators is told True.

        Where the file system has no hard links, two at one moment may be told so.
        """
        path = keys.checked_key(key)
        target = self._path(path)
        with translated(self._root, target, "write"):
            if os.path.lexists(target):
                return False
            temporary = self._write_hidden(path, (data,))
            try:
                os.link(temporary, target)
            except FileExistsError:
                os.unlink(temporary)
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    os.unlink(temporary)
                    raise
                self._rename(temporary, path)
                return True
            os.unlink(temporary)
            sync_directory(os.path.dirname(target))
            return True

    def head(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None."""
        path = self._path(keys.checked_key(key))
        try:
            found = os.stat(path)
        except OSError as error:
            if error.errno in ABSENT and os.path.isdir(self._root):
                return None
            raise failure_of(error, self._root, path, "read") from error
        return _info(key, found) if stat.S_ISREG(found.st_mode) else None

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order of their keys."""
        start = keys.checked_prefix(prefix)
        for key, found in walk(self._root, start):
            if key.startswith(start) and keys.is_key(key):
                yield _info(key, found)

    def delete(self, key: str) -> None:
        """Removes an object if it is there; directories stay, since another writer may be about to use them."""
        path = self._path(keys.checked_key(key))
        with translated(self._root, path, "delete"):
            try:
                os.unlink(path)
            except OSError as error:
                if error.errno not in ABSENT or not os.path.isdir(self._root):
                    raise
            else:
                sync_directory(os.path.dirname(path))

    def now(self) -> datetime:
        """The file system's clock: the time of a file just written, or this machine's where none can be."""
        marker = self._path(RelPath(keys.temporary_name("clock", self._owner)))
        try:
            with translated(self._root, marker, "write"):
                write_new(marker, ())
                try:
                    return _time(os.stat(marker))
                finally:
                    os.unlink(marker)
        except (DataDiskReadOnly, StoreDenied, DeviceFull):
            return datetime.now(UTC)

    def begin_upload(self, key: str, size_bytes: int) -> DirectoryUpload:
        """Begins to write an object into a hidden file that has all its space from the beginning.

        Raises:
            DeviceFull: there is not enough of it.
        """
        path = keys.checked_key(key)
        return begin_upload(self._root, path, Parts.of(path, size_bytes), self._owner)

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        """Hidden files under `prefix`: unfinished uploads, and what a crash left of small objects.

        Their times are those of the last write.
        """
        start = keys.checked_prefix(prefix)
        found = []
        for path, status in walk(self._root, start, wanted=lambda name: keys.object_name(name) is not None):
            above, slash, name = path.rpartition("/")
            object_name = keys.object_name(name)
            if object_name is not None and (key := f"{above}{slash}{object_name}").startswith(start):
                found.append(OpenUpload(key, path, _time(status)))
        return found

    def abort_upload(self, upload: OpenUpload) -> None:
        """Gives an upload up, whoever began it."""
        path = RelPath(upload.id)
        if keys.object_name(path.name) is None:
            raise StoreBroken(upload.id, "is not the name of an unfinished object")
        with translated(self._root, self._path(path), "delete"), suppress(FileNotFoundError):
            os.unlink(self._path(path))

    def sweep_own(self) -> int:
        """Removes the hidden files that a crash of this owner left; returns how many."""
        own = [item for item in self.open_uploads("") if keys.owner_of(os.path.basename(item.id)) == self._owner]
        for upload in own:
            self.abort_upload(upload)
        return len(own)

    def local_path(self, key: str) -> str | None:
        """The absolute path of the object's file, or None where it is not there."""
        path = self._path(keys.checked_key(key))
        return path if os.path.isfile(path) else None

    def _path(self, path: RelPath) -> str:
        return os.path.join(self._root, path)

    def _write_hidden(self, path: RelPath, pieces: Iterable[bytes]) -> str:
        make_parents(self._root, path)
        directory = os.path.dirname(self._path(path))
        temporary = os.path.join(directory, keys.temporary_name(path.name, self._owner))
        write_new(temporary, pieces)
        return temporary

    def _rename(self, temporary: str, path: RelPath) -> None:
        target = self._path(path)
        try:
            os.rename(temporary, target)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_directory(os.path.dirname(target))


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A regular file, for reading; never waits for somebody to write into a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StoreBroken(path, "is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, _time(found))


def _time(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)

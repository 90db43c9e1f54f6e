"""An object of a `DirectoryStore` that is being written in parts, at their places in a hidden file."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from zimage_syncd.durability import sync_directory
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import PartBody
from zimage_syncd.stores import keys
from zimage_syncd.stores.durable import make_parents
from zimage_syncd.stores.os_errors import translated
from zimage_syncd.stores.parts import Parts, pieces_of

_NO_PREALLOCATION = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems that cannot preallocate answer (posix_fallocate(3))."""


def begin_upload(root: str, path: RelPath, parts: Parts, owner: str) -> DirectoryUpload:
    """Makes the hidden file with all the space that it needs.

    Args:
        root: absolute path of the store's directory.
        path: the object's key.
        parts: how it is cut.
        owner: who writes, as `owner_mark` gives it.

    Raises:
        DeviceFull: there is not enough space.
    """
    name = keys.temporary_name(path.name, owner)
    hidden = RelPath("/".join((*path.parts[:-1], name)))
    where = os.path.join(root, hidden)
    with translated(root, where, f"reserve {parts.size_bytes} bytes"):
        make_parents(root, path)
        descriptor = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            _preallocate(descriptor, parts.size_bytes)
        except BaseException:
            os.close(descriptor)
            os.unlink(where)
            raise
    return DirectoryUpload(root, path, hidden, parts, descriptor)


def _preallocate(descriptor: int, size_bytes: int) -> None:
    if size_bytes == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in _NO_PREALLOCATION:
            raise
        os.ftruncate(descriptor, size_bytes)


class DirectoryUpload:
    """Parts are written where they belong, in any order, each through a descriptor of its own."""

    def __init__(self, root: str, path: RelPath, hidden: RelPath, parts: Parts, descriptor: int) -> None:
        self._root = root
        self._target = os.path.join(root, path)
        self._hidden = hidden
        self._where = os.path.join(root, hidden)
        self._parts = parts
        # Held open from the first byte to the last, so that its fsync reports a write that failed in between
        # (fsync(2): errors are told to descriptors that were open when they happened).
        self._file = open(descriptor, "wb", buffering=0)  # noqa: SIM115
        self._sent: set[int] = set()

    @property
    def id(self) -> str:
        """The hidden file's path below the root."""
        return self._hidden

    @property
    def part_bytes(self) -> int:
        """Size of every part but the last."""
        return self._parts.part_bytes

    def put_part(self, number: int, body: PartBody) -> None:
        """Writes part `number` at its place.

        Raises:
            FileChanging: the body ends before its length.
            StoreBroken: somebody gave the upload up.
        """
        self._parts.check(number, body)
        offset = self._parts.offset(number)
        operation = f"write part {number}"
        with translated(self._root, self._where, operation):
            descriptor = os.open(self._where, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for piece in pieces_of(self._target, body):
                # Only the writing is translated: what the body raises is about another file.
                with translated(self._root, self._where, operation):
                    offset += _write_at(descriptor, piece, offset)
        finally:
            os.close(descriptor)
        self._sent.add(number)

    def complete(self) -> None:
        """Makes the object appear, whole and durable.

        Raises:
            StoreBroken: a part was never sent, or somebody gave the upload up.
        """
        self._parts.require_all(self._sent)
        with translated(self._root, self._target, "write"):
            os.fsync(self._file.fileno())
            os.rename(self._where, self._target)
            self._file.close()
            sync_directory(os.path.dirname(self._target))

    def abort(self) -> None:
        """Removes the hidden file; does nothing after `complete`."""
        self._file.close()
        with translated(self._root, self._where, "delete"), suppress(FileNotFoundError):
            os.unlink(self._where)


def _write_at(descriptor: int, data: bytes, offset: int) -> int:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        offset += written
        view = view[written:]
    return len(data)

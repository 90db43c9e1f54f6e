"""The payload files of a cache tree: opened without following links, read, hashed; and what its errors mean."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from zimage_syncd.digest import FileDigests, hash_descriptor, read_pieces
from zimage_syncd.model.failures import (
    BlobMissing,
    Failure,
    FileChanging,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import DigestAlgorithm, LocalFile
from zimage_syncd.ports import OnBytes, file_stat
from zimage_syncd.stores.beneath import open_beneath

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_UNREACHABLE = frozenset(
    {errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
"""What network and FUSE mounts give when their server is gone; EIO is what soft NFS mounts say (nfs(5))."""


class TreeFiles:
    """Files below a directory that others write to.

    Args:
        root: absolute path of the directory.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def absolute(self, path: RelPath) -> str:
        """The absolute path."""
        return f"{self.root}/{path}"

    def check(self) -> None:
        """Makes sure that the directory can be listed.

        Raises:
            StoreMissing, StoreDenied, StoreUnreachable: as their names say.
        """
        with self.translated(self.root):
            os.scandir(self.root).close()

    def modified_s(self, path: RelPath) -> float:
        """When a file or directory was modified, in seconds since 1970."""
        with self.translated(self.absolute(path)):
            return os.stat(self.absolute(path)).st_mtime

    def read(self, path: RelPath, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes of a file from `offset`, in views of `buffer`.

        Raises:
            BlobMissing: nothing lies there, or a link or something else that is no file.
            StoreMissing, StoreDenied, StoreUnreachable: as their names say.
            StoreBroken: the file ends before.
        """
        given = 0
        with self._opened(path) as descriptor:
            for piece in read_pieces(descriptor, offset, length, buffer):
                given += len(piece)
                yield piece
        if given < length:
            raise StoreBroken(self.absolute(path), f"ends at {offset + given} bytes, expected {offset + length}")

    def local_path(self, file: FileEntry) -> str | None:
        """Absolute path of a file, where it is one of the right size and no link lies on the way."""
        try:
            with self._opened(file.path) as descriptor:
                size_bytes = os.fstat(descriptor).st_size
        except Failure:
            return None
        return self.absolute(file.path) if size_bytes == file.size_bytes else None

    def digests(self, file: LocalFile, on_bytes: OnBytes) -> FileDigests:
        """All digests that are needed to record a file; reads all of it.

        Raises:
            FileChanging: it changed while it was read.
            BlobMissing, StoreMissing, StoreDenied, StoreUnreachable: as their names say.
        """
        with_git_sha1 = file.expected is not None and file.expected.algorithm is DigestAlgorithm.GIT_SHA1
        with self._opened(file.path) as descriptor:
            before = file_stat(os.fstat(descriptor))
            digests = hash_descriptor(descriptor, before.size_bytes, with_git_sha1=with_git_sha1, on_piece=on_bytes)
            after = file_stat(os.fstat(descriptor))
        if after != before or digests.size_bytes != before.size_bytes:
            raise FileChanging(self.absolute(file.path), "size or time of modification moved while it was read")
        return digests

    @contextmanager
    def _opened(self, path: RelPath) -> Iterator[int]:
        with self.translated(self.absolute(path)):
            descriptor = open_beneath(self.root, path)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def translated(self, subject: str) -> Iterator[None]:
        """Turns errors of the operating system into failures about `subject`."""
        try:
            yield
        except OSError as error:
            raise self._failure(error, subject) from error

    def _failure(self, error: OSError, subject: str) -> Failure:
        said = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _ABSENT:
            if not os.path.isdir(self.root):
                return StoreMissing(self.root, "there is no such directory; is it mounted?")
            return BlobMissing(subject, f"no file lies there, or a link is on the way: {said}")
        if error.errno in _DENIED:
            return StoreDenied(subject, said)
        return (StoreUnreachable if error.errno in _UNREACHABLE else StoreBroken)(subject, said)

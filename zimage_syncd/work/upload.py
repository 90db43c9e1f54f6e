"""Sends one file's content to an archive; hashed in the same pass where its digest is known beforehand.

The blob's name is its digest and an object cannot be renamed, so an upload is completed only when what was sent hashes
to the name that it was begun under.
"""

from __future__ import annotations

import os

from zimage_syncd.digest import FileDigests, FileHasher
from zimage_syncd.model.failures import DiskError, FileChanging, FileDamaged
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import Archive, BlobUpload, FileStat, Ledger, OnBytes

SMALL_BYTES = 16 * 2**20
"""Up to one part, a file is read, hashed and put in one piece."""


class HashingWindow:
    """One part of a file, as a request's body that hashes what is read from it.

    A repeated request goes back in the part; the hash goes back with it.
    """

    def __init__(self, descriptor: int, start: int, length: int, hasher: FileHasher, on_bytes: OnBytes) -> None:
        self._descriptor = descriptor
        self._start = start
        self._length = length
        self._before = hasher
        self._hasher = hasher.copy()
        self._on_bytes = on_bytes
        self._position = 0
        self._hashed = 0
        self.failure: OSError | None = None
        """Why the last reading gave nothing; a library that sends this may turn it into an error of its own."""

    def __len__(self) -> int:
        return self._length

    def tell(self) -> int:
        """The present position within the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to `offset` within the part."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, min(self._length, base + offset))
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` more bytes; hashed when they are read for the first time."""
        left = self._length - self._position
        count = left if size < 0 else min(size, left)
        try:
            data = os.pread(self._descriptor, count, self._start + self._position)
        except OSError as error:
            self.failure = error
            raise
        self.failure = None
        fresh = self._position + len(data) - self._hashed
        if fresh > 0:
            self._hasher.update(memoryview(data)[len(data) - fresh :])
            self._hashed += fresh
            self._on_bytes(fresh)
        self._position += len(data)
        return data

    def finished_hasher(self) -> FileHasher:
        """The hash up to the end of this part; what the request did not read is read now."""
        while self._hashed < self._length:
            self._position = self._hashed
            if not self.read(2**20):
                break
        return self._hasher


def upload_file(
    archive: Archive,
    ledger: Ledger,
    path: RelPath,
    descriptor: int,
    stat: FileStat,
    sha256: str,
    on_bytes: OnBytes,
    *,
    replace: bool = False,
) -> FileDigests:
    """Uploads a file under its digest, if what is read hashes to it.

    Args:
        archive: where to.
        ledger: keeps the upload's name, so that a crash leaves nothing open.
        path: for messages.
        descriptor: open for reading.
        stat: of the same file, taken when it was opened.
        sha256: what the content is expected to hash to.
        on_bytes: is told of every byte that was hashed.
        replace: send it also where a blob of this name and size is there: that one is damaged.

    Returns:
        All digests of what was sent.

    Raises:
        DiskError: the disk cannot give the content.
        FileDamaged: the content hashes to something else; nothing appeared in the archive.
        FileChanging: the file became shorter while it was read.
        StoreUnreachable, StoreDenied, StoreBroken, DeviceFull: as their names say.
    """
    if stat.size_bytes <= SMALL_BYTES:
        return _put_small(archive, path, descriptor, stat, sha256, on_bytes, replace=replace)
    ledger.begin_upload(archive.name, sha256)
    upload = archive.begin_blob(sha256, stat.size_bytes)
    ledger.know_upload(archive.name, sha256, upload.id)
    try:
        digests = _send_parts(upload, path, descriptor, stat.size_bytes, on_bytes)
        _check(path, stat, digests, sha256)
        upload.complete()
    except BaseException:
        upload.abort()
        ledger.end_upload(archive.name, sha256)
        raise
    ledger.end_upload(archive.name, sha256)
    return digests


def _send_parts(upload: BlobUpload, path: RelPath, descriptor: int, size_bytes: int, on_bytes: OnBytes) -> FileDigests:
    hasher = FileHasher(size_bytes)
    for number, start in enumerate(range(0, size_bytes, upload.part_bytes), 1):
        length = min(upload.part_bytes, size_bytes - start)
        window = HashingWindow(descriptor, start, length, hasher, on_bytes)
        try:
            upload.put_part(number, window)
            hasher = window.finished_hasher()
        except Exception:
            if window.failure is not None:
                raise DiskError(path, str(window.failure.strerror)) from window.failure
            raise
    return hasher.digests()


def _put_small(
    archive: Archive,
    path: RelPath,
    descriptor: int,
    stat: FileStat,
    sha256: str,
    on_bytes: OnBytes,
    *,
    replace: bool,
) -> FileDigests:
    data = _read_small(path, descriptor, stat.size_bytes)
    hasher = FileHasher(len(data))
    hasher.update(data)
    digests = hasher.digests()
    _check(path, stat, digests, sha256)
    archive.put_blob(sha256, data, replace=replace)
    on_bytes(len(data))
    return digests


def _read_small(path: RelPath, descriptor: int, size_bytes: int) -> bytes:
    """The content, and one byte more if the file grew.

    Before a bad sector the kernel gives what it could read, and the error only to the next reading: one short reading
    says nothing about the file's length.
    """
    pieces: list[bytes] = []
    position = 0
    try:
        while position <= size_bytes and (piece := os.pread(descriptor, size_bytes + 1 - position, position)):
            pieces.append(piece)
            position += len(piece)
    except OSError as error:
        raise DiskError(path, str(error.strerror)) from error
    return b"".join(pieces)


def _check(path: RelPath, stat: FileStat, digests: FileDigests, sha256: str) -> None:
    if digests.size_bytes != stat.size_bytes:
        raise FileChanging(path, f"it had {stat.size_bytes} bytes, {digests.size_bytes} could be read")
    if digests.sha256 != sha256:
        raise FileDamaged(path, f"expected sha256 {sha256}, found {digests.sha256}")

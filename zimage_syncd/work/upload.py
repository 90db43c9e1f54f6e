"""Sends one file's content to an archive; hashed in the same pass where its digest is known beforehand.

The blob's name is its digest and an object cannot be renamed, so an upload is completed only when what was sent hashes
to the name that it was begun under.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from zimage_syncd.digest import FileDigests, FileHasher
from zimage_syncd.model.failures import DiskError, FileChanging, FileDamaged
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import Archive, BlobUpload, FileStat, OnBytes
from zimage_syncd.work.part_window import HashingWindow
from zimage_syncd.work.site import Site

SMALL_BYTES = 16 * 2**20
"""Up to one part, a file is read, hashed and put in one piece."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file that is to be uploaded."""

    path: RelPath
    """For messages."""
    descriptor: int
    """Open for reading."""
    stat: FileStat
    """Taken when it was opened."""
    sha256: str
    """What its content is expected to hash to."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload found and did."""

    digests: FileDigests
    """Of the whole content."""
    sent_bytes: int
    """How much of it was sent."""


def upload_file(
    site: Site, archive: Archive, file: Outgoing, on_progress: OnBytes, *, replace: bool = False
) -> Uploaded:
    """Uploads a file under its digest, if what is read hashes to it.

    Args:
        site: whose ledger keeps the upload's name, so that a crash leaves nothing open.
        archive: where to.
        file: what.
        on_progress: is told of every byte that is dealt with.
        replace: send it also where a blob of this name and size is there: that one is damaged.

    Raises:
        DiskError: the disk cannot give the content.
        FileDamaged: the content hashes to something else; nothing appeared in the archive.
        FileChanging: the file became shorter while it was read.
        StoreUnreachable, StoreDenied, StoreBroken, DeviceFull: as their names say.
        Stopped: somebody asked to stop.
    """
    if file.stat.size_bytes <= SMALL_BYTES:
        return _put_small(site, archive, file, on_progress, replace=replace)
    site.ledger.begin_upload(archive.name, file.sha256)
    upload = archive.begin_blob(file.sha256, file.stat.size_bytes)
    site.ledger.know_upload(archive.name, file.sha256, upload.id)
    try:
        digests = _send_parts(site, upload, file, on_progress)
        _check(file, digests)
        upload.complete()
    except BaseException:
        upload.abort()
        site.ledger.end_upload(archive.name, file.sha256)
        raise
    site.ledger.end_upload(archive.name, file.sha256)
    return Uploaded(digests, digests.size_bytes)


def _send_parts(site: Site, upload: BlobUpload, file: Outgoing, on_progress: OnBytes) -> FileDigests:
    def on_sending(count: int, new: int) -> None:
        site.upload_rate.take(count)
        on_progress(new)

    size_bytes = file.stat.size_bytes
    hasher = FileHasher(size_bytes)
    for number, start in enumerate(range(0, size_bytes, upload.part_bytes), 1):
        length = min(upload.part_bytes, size_bytes - start)
        window = HashingWindow(file.descriptor, start, length, hasher, site.cancel.check, on_sending)
        try:
            upload.put_part(number, window)
            hasher = window.finished_hasher()
        except Exception:
            if window.failure is not None:
                raise DiskError(file.path, str(window.failure.strerror)) from window.failure
            raise
        on_progress(length - window.given_bytes)
    return hasher.digests()


def _put_small(site: Site, archive: Archive, file: Outgoing, on_progress: OnBytes, *, replace: bool) -> Uploaded:
    site.cancel.check()
    data = _read_small(file.path, file.descriptor, file.stat.size_bytes)
    hasher = FileHasher(len(data))
    hasher.update(data)
    digests = hasher.digests()
    _check(file, digests)
    site.upload_rate.take(len(data))
    archive.put_blob(file.sha256, data, replace=replace)
    on_progress(len(data))
    return Uploaded(digests, len(data))


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


def _check(file: Outgoing, digests: FileDigests) -> None:
    if digests.size_bytes != file.stat.size_bytes:
        raise FileChanging(file.path, f"it had {file.stat.size_bytes} bytes, {digests.size_bytes} could be read")
    if digests.sha256 != file.sha256:
        raise FileDamaged(file.path, f"expected sha256 {file.sha256}, found {digests.sha256}")

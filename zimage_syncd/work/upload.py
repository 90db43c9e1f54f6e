"""Sends one file's content to an archive; hashed in the same pass where its digest is known beforehand.

The blob's name is its digest and an object cannot be renamed, so an upload is completed only when what was sent hashes
to the name that it was begun under. A store that keeps the parts of an upload that was broken off gets only the
rest: the file is read and hashed again, and a part is kept where its bytes are those that were sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from zimage_syncd.digest import FileDigests, FileHasher
from zimage_syncd.model.failures import (
    DiskError,
    Failure,
    FileChanging,
    FileDamaged,
    Stopped,
    StoreBroken,
    StoreDenied,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import Archive, BlobUpload, FileStat, OnBytes, PendingUpload, ResumedUpload, SentPart, file_stat
from zimage_syncd.work.part_window import HashingWindow
from zimage_syncd.work.site import Site

SMALL_BYTES = 16 * 2**20
"""Up to one part, a file is read, hashed and put in one piece."""

_LATER = (Stopped, StoreUnreachable)
"""What ends an upload that another run can go on with."""


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
    """How much of it was sent; the rest the store had of an upload that was broken off."""


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
        FileChanging: the file changed while it was read; nothing appeared in the archive.
        StoreUnreachable, StoreDenied, StoreBroken, DeviceFull: as their names say.
        Stopped: somebody asked to stop; what the store has taken stays for the next run, where it keeps parts.
    """
    if file.stat.size_bytes <= SMALL_BYTES:
        return _put_small(site, archive, file, on_progress, replace=replace)
    upload, known = _open(site, archive, file)
    try:
        uploaded = _send_parts(site, archive, upload, file, known, on_progress)
        _check(file, uploaded.digests)
        _require_unchanged(file)
        upload.complete()
    except BaseException as error:
        if not (isinstance(error, _LATER) and isinstance(upload, ResumedUpload)):
            with suppress(Failure):  # if it cannot be given up now, the ledger knows it, and the next run does
                upload.abort()
                site.ledger.end_upload(archive.name, file.sha256)
        raise
    site.ledger.end_upload(archive.name, file.sha256)
    return uploaded


def _open(site: Site, archive: Archive, file: Outgoing) -> tuple[BlobUpload, Mapping[int, SentPart]]:
    """Goes on with an upload that was broken off, or begins one; and what was sent of it."""
    size_bytes = file.stat.size_bytes
    known = site.ledger.sent_parts(archive.name, file.sha256)
    marks = {number: part.mark for number, part in known.items()}
    mine = [each for each in site.ledger.pending_uploads(archive.name) if each.sha256 == file.sha256]
    # A ledger that was lost knows of none: then what is open, and no live intent of others needs, is ours.
    for pending in mine or [PendingUpload(archive.name, file.sha256, None)]:
        if pending.upload_id is not None:
            resumed = archive.resume_blob(file.sha256, size_bytes, pending.upload_id, marks)
            if resumed is not None:
                return resumed, known
        give_up(site, archive, pending)
    site.ledger.begin_upload(archive.name, file.sha256)
    upload = archive.begin_blob(file.sha256, size_bytes)
    site.ledger.know_upload(archive.name, file.sha256, upload.id)
    return upload, {}


def give_up(site: Site, archive: Archive, pending: PendingUpload) -> None:
    """Gives an upload of an earlier run up; where the store refuses that, it stays known and keeps nothing else back.

    Raises:
        StoreUnreachable, StoreMissing: as their names say.
    """
    with suppress(StoreBroken, StoreDenied):
        end_upload(site, archive, pending)


def end_upload(site: Site, archive: Archive, pending: PendingUpload) -> None:
    """The same, for whoever tells what a store refuses.

    Raises:
        StoreBroken, StoreDenied, StoreUnreachable, StoreMissing: as their names say.
    """
    archive.abort_uploads(pending.sha256, pending.upload_id)
    site.ledger.end_upload(archive.name, pending.sha256)


def _send_parts(
    site: Site,
    archive: Archive,
    upload: BlobUpload,
    file: Outgoing,
    known: Mapping[int, SentPart],
    on_progress: OnBytes,
) -> Uploaded:
    def on_sending(count: int, new: int) -> None:
        site.upload_rate.take(count)
        on_progress(new)

    size_bytes = file.stat.size_bytes
    hasher = FileHasher(size_bytes)
    sent_bytes = 0
    for number, start in enumerate(range(0, size_bytes, upload.part_bytes), 1):
        length = min(upload.part_bytes, size_bytes - start)
        window = HashingWindow(file.descriptor, start, length, hasher, site.cancel.check, on_sending)
        try:
            kept = _kept(upload, number, window, known.get(number))
            if not kept:
                upload.put_part(number, window)
            hasher = window.finished_hasher()
        except Exception:
            if window.failure is not None:
                raise DiskError(file.path, str(window.failure.strerror)) from window.failure
            raise
        if not kept:
            sent_bytes += length
            if isinstance(upload, ResumedUpload):
                part = SentPart(upload.mark(number), hasher.chunks_from(start // CHUNK_BYTES))
                site.ledger.know_part(archive.name, file.sha256, number, part, site.clock.now())
        on_progress(length - window.given_bytes)
    return Uploaded(hasher.digests(), sent_bytes)


def _kept(upload: BlobUpload, number: int, window: HashingWindow, sent: SentPart | None) -> bool:
    """Whether a part need not be sent: the store has it of an earlier run, and its bytes are the same."""
    if sent is None or not isinstance(upload, ResumedUpload) or number not in upload.there():
        return False
    if window.finished_hasher().chunks_from(window.start // CHUNK_BYTES) != sent.chunks:
        return False
    upload.keep_part(number)
    return True


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


def _require_unchanged(file: Outgoing) -> None:
    """What a store asked for again after a broken connection was read again, and is not what was hashed."""
    if file_stat(os.fstat(file.descriptor)) != file.stat:
        raise FileChanging(file.path, "size or time of modification moved while it was sent")

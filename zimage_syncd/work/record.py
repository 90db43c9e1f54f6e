"""Reads a snapshot's files and gives their digests: from the ledger where nothing changed, else from the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zimage_syncd.digest import FileDigests, hash_descriptor
from zimage_syncd.model.failures import DiskError, FileChanging, FileDamaged, FileMissing, PathUnreadable
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.snapshot import DigestAlgorithm, LocalFile, LocalSnapshot
from zimage_syncd.ports import FileStat, SeenFile, file_stat
from zimage_syncd.recording import record
from zimage_syncd.work.site import Site


@dataclass(frozen=True, slots=True)
class OpenPayload:
    """A payload file that is open for reading."""

    descriptor: int
    """For reading."""
    stat: FileStat
    """Taken just before it was opened."""


class _NotKnown(Exception):
    """The ledger does not know a file as it is."""


@contextmanager
def opened(site: Site, file: LocalFile) -> Iterator[OpenPayload]:
    """Opens a payload file; a linked one where it leads to.

    Raises:
        FileMissing, PathUnreadable, UnsafePath, DiskError: as their names say.
    """
    try:
        if file.linked_to is None:
            descriptor = site.disk.open_read(file.path)
        else:
            descriptor = os.open(file.linked_to, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileMissing(file.path) from error
    except OSError as error:
        raise PathUnreadable(str(file.linked_to), str(error.strerror)) from error
    try:
        yield OpenPayload(descriptor, file_stat(os.fstat(descriptor)))
    finally:
        os.close(descriptor)


def known_digests(site: Site, file: LocalFile) -> FileDigests | None:
    """What the ledger knows of a file that has not changed since."""
    if file.linked_to is not None:
        return None
    seen = site.disk.look(file.path)
    return _known(site, file, seen.stat) if isinstance(seen, SeenFile) else None


def _known(site: Site, file: LocalFile, stat: FileStat) -> FileDigests | None:
    known = site.ledger.digests(file.path, stat)
    return None if known is None or _contradicts(known, file) else known


def known_manifest(site: Site, snapshot: LocalSnapshot) -> Manifest | None:
    """The manifest of a snapshot of which no file has changed since the ledger knows it; None for every other one.

    The files' stats are those of the survey, and no file is looked at again. What the ledger knows under such a stat is
    what the file held when the survey saw it, beside the links and pointers that it saw then: the manifest is of that
    moment. Whatever changed since is the next backup's, as a change just after a second look would be; and nothing is
    sent by this manifest: it is only compared with what an archive holds.
    """

    def digests_of(_number: int, file: LocalFile) -> FileDigests:
        known = None if file.stat is None else _known(site, file, file.stat)
        if known is None:
            raise _NotKnown
        return known

    try:
        return record(snapshot, digests_of)
    except _NotKnown:
        return None


def _contradicts(digests: FileDigests, file: LocalFile) -> bool:
    expected = file.expected
    return expected is not None and expected.algorithm is DigestAlgorithm.SHA256 and digests.sha256 != expected.hex


def read_digests(site: Site, file: LocalFile) -> FileDigests:
    """Reads a whole file, compares it with what its publisher says, and keeps its digests in the ledger.

    Raises:
        FileDamaged: it is not what its publisher says.
        FileChanging: it changed while it was read.
        FileMissing, PathUnreadable, DiskError: as their names say.
    """

    def on_piece(count: int) -> None:
        site.cancel.check()
        site.monitor.advance(count)

    with_git_sha1 = file.expected is not None and file.expected.algorithm is DigestAlgorithm.GIT_SHA1
    with opened(site, file) as payload:
        try:
            digests = hash_descriptor(
                payload.descriptor, payload.stat.size_bytes, with_git_sha1=with_git_sha1, on_piece=on_piece
            )
        except OSError as error:
            raise DiskError(file.path, str(error.strerror)) from error
        if file.expected is not None and not digests.matches(file.expected):
            found = digests.git_sha1 if with_git_sha1 else digests.sha256
            raise FileDamaged(file.path, f"{file.expected.source} says {file.expected.hex}, found {found}")
        remember(site, file, payload, digests)
    return digests


def remember(site: Site, file: LocalFile, payload: OpenPayload, digests: FileDigests) -> None:
    """Keeps digests in the ledger.

    Raises:
        FileChanging: the file changed since it was opened.
    """
    if file_stat(os.fstat(payload.descriptor)) != payload.stat:
        raise FileChanging(file.path, "size or time of modification moved while it was read")
    if file.linked_to is None:
        site.ledger.record(file.path, payload.stat, digests, site.clock.now())

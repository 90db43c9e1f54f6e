"""Reads a snapshot's files once and sends an archive what it lacks; large files are hashed while they are uploaded."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from zimage_syncd.digest import FileDigests
from zimage_syncd.model.failures import (
    DataDiskReadOnly,
    DeviceFull,
    Failure,
    FormatUnknown,
    Stopped,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import DigestAlgorithm, LocalFile, LocalSnapshot
from zimage_syncd.ports import Archive, Intent
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.found_digests import FoundDigests
from zimage_syncd.work.record import known_digests, opened, read_digests, remember
from zimage_syncd.work.site import Site
from zimage_syncd.work.upload import SMALL_BYTES, Outgoing, upload_file

_Item = TypeVar("_Item", tuple[int, LocalFile], tuple[FileEntry, LocalFile])

_WORKERS = 4
"""Files at a time; SHA-256 needs order, so one worker walks one file (measured: 4 keep a loopback server busy)."""

STORE_TROUBLE = (StoreMissing, StoreDenied, StoreUnreachable, StoreBroken, FormatUnknown, DeviceFull, DataDiskReadOnly)
"""Failures of a backup that are an archive's and not a file's: what it says to one file it says to the next."""


class ReadBytes:
    """Bytes by path, of which only the sum is asked for: of 100,000 paths no more than a hash is kept."""

    def __init__(self) -> None:
        self._paths: set[int] = set()
        self.total = 0

    def __setitem__(self, path: str, count_bytes: int) -> None:
        if hash(path) not in self._paths:
            self._paths.add(hash(path))
            self.total += count_bytes


@dataclass(slots=True)
class Sent:
    """What one backup of one snapshot did."""

    read: ReadBytes = field(default_factory=ReadBytes)
    """Bytes of the files that were read and hashed, by path; a small one that is read again to be sent counts once."""
    uploaded_bytes: int = 0
    """Bytes sent."""
    kept_bytes: int = 0
    """Bytes that an archive had already, of uploads that were broken off."""
    streamed: set[str] = field(default_factory=set)
    """Digests of the files that were sent while they were hashed: equal content is sent once, whatever its paths."""
    findings: list[Finding] = field(default_factory=list)
    """Files that cannot be backed up, and why."""
    given_up: bool = False
    """Whether the archive failed: no further file is tried."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while any of these is changed."""

    @property
    def read_bytes(self) -> int:
        """Bytes of all files that were read."""
        return self.read.total

    def is_first(self, sha256: str) -> bool:
        """Whether this is the first question about a digest."""
        with self.lock:
            first = sha256 not in self.streamed
            self.streamed.add(sha256)
        return first


def digests_of(site: Site, archive: Archive, snapshot: LocalSnapshot, sent: Sent, intent: Intent) -> FoundDigests:
    """Digests of all files; large ones with a known digest are uploaded on the way."""
    digests = FoundDigests(len(snapshot.files))

    def one(item: tuple[int, LocalFile]) -> None:
        number, file = item
        known = known_digests(site, file)
        if known is not None:
            site.monitor.advance(file.size_bytes)
        elif _can_stream(file) and sent.is_first(expected_hex(file)) and archive.blob(expected_hex(file)) is None:
            known = _stream(site, archive, file, sent)
        else:
            known = read_digests(site, file)
            with sent.lock:
                sent.read[file.path] = known.size_bytes
        digests.put(number, known)

    _each(site, lambda: enumerate(snapshot.files), one, sent, intent)
    return digests


def _can_stream(file: LocalFile) -> bool:
    return knows_sha256(file) and file.size_bytes > SMALL_BYTES


def knows_sha256(file: LocalFile) -> bool:
    """Whether its publisher gives the digest that its blob is named by."""
    return file.expected is not None and file.expected.algorithm is DigestAlgorithm.SHA256


def expected_hex(file: LocalFile) -> str:
    """What its publisher gives; empty where it gives nothing."""
    return "" if file.expected is None else file.expected.hex


def _stream(site: Site, archive: Archive, file: LocalFile, sent: Sent, sha256: str = "") -> FileDigests:
    with opened(site, file) as payload:
        wanted = sha256 or expected_hex(file)
        outgoing = Outgoing(file.path, payload.descriptor, payload.stat, wanted)
        uploaded = upload_file(site, archive, outgoing, site.monitor.advance)
        remember(site, file, payload, uploaded.digests)
    with sent.lock:
        sent.read[file.path] = uploaded.digests.size_bytes
        sent.uploaded_bytes += uploaded.sent_bytes
        sent.kept_bytes += uploaded.digests.size_bytes - uploaded.sent_bytes
    return uploaded.digests


def upload_missing(
    site: Site, archive: Archive, snapshot: LocalSnapshot, manifest: Manifest, sent: Sent, intent: Intent
) -> None:
    """Uploads the blobs that the archive still lacks; equal content once, whatever its paths."""

    def each_once() -> Iterator[tuple[FileEntry, LocalFile]]:
        seen: set[bytes] = set()
        for entry, file in zip(manifest.files, snapshot.files, strict=True):  # it was recorded from these
            sha256 = bytes.fromhex(entry.sha256)
            if sha256 not in seen:
                seen.add(sha256)
                yield entry, file

    def one(item: tuple[FileEntry, LocalFile]) -> None:
        entry, file = item
        blob = archive.blob(entry.sha256)
        if blob is None or blob.size_bytes != entry.size_bytes:
            _stream(site, archive, file, sent, entry.sha256)

    _each(site, each_once, one, sent, intent)


def _each(
    site: Site, items: Callable[[], Iterable[_Item]], act: Callable[[_Item], None], sent: Sent, intent: Intent
) -> None:
    """Does something with every item, several at a time; a file's failure is a finding and stops no other file.

    Large files come first, the largest of them before the others, so that none is left for one worker alone. The small
    ones are taken as they come: nobody waits for them, and of 100,000 no list is made.

    Args:
        site: the cache.
        items: gives them all; a file is the last value of each.
        act: what to do.
        sent: gets the findings.
        intent: renewed on the way.

    Raises:
        Failure: one of `STORE_TROUBLE`.
    """

    def guarded(item: _Item) -> None:
        site.cancel.check()
        if sent.given_up:
            return
        intent.renew()
        try:
            act(item)
        except STORE_TROUBLE:
            sent.given_up = True
            raise
        except Stopped:
            raise
        except Failure as failure:
            with sent.lock:
                sent.findings.append(finding_of(failure))

    large = sorted((item for item in items() if _is_large(item)), key=lambda item: -item[-1].size_bytes)
    left = itertools.chain(large, (item for item in items() if not _is_large(item)))

    def next_item() -> _Item | None:
        with sent.lock:
            return next(left, None)

    def work(_number: int) -> None:
        try:
            while (item := next_item()) is not None:
                guarded(item)
        except BaseException:
            sent.given_up = True
            raise

    # One task a thread: with one for each of 100,000 files the tasks alone took 100 MB.
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="backup") as pool:
        list(pool.map(work, range(_WORKERS)))


def _is_large(item: tuple[int | FileEntry, LocalFile]) -> bool:
    return item[-1].size_bytes > SMALL_BYTES

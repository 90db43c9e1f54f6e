"""Builds a manifest out of what a layout found and the digests of its files."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from operator import attrgetter

from zimage_syncd.digest import FileDigests
from zimage_syncd.model.failures import FileDamaged
from zimage_syncd.model.manifest import Entry, FileEntry, LinkEntry, Manifest, PointerEntry, Proof
from zimage_syncd.model.snapshot import Complete, DigestAlgorithm, LocalFile, LocalSnapshot


def record(snapshot: LocalSnapshot, digests_of: Callable[[int, LocalFile], FileDigests]) -> Manifest:
    """The manifest of a snapshot; proved when every file agreed with a digest from elsewhere and none is missing.

    Args:
        snapshot: what a layout found.
        digests_of: gives those of a file, of which it is told the number (from 0), too. Whoever read a file compared
            its git digest; the sha256 is compared here.

    Raises:
        FileDamaged: a file is not what its publisher says.
        ManifestInvalid: the snapshot holds what no manifest may.
    """
    unlisted = 0

    def files() -> Iterator[Entry]:
        nonlocal unlisted
        for number, file in enumerate(snapshot.files):
            unlisted += file.expected is None
            yield _file(file, digests_of(number, file))

    links = (LinkEntry(link.path, link.target) for link in snapshot.links)
    pointers = (PointerEntry(pointer.path, pointer.text, pointer.mode) for pointer in snapshot.pointers)
    # All three are sorted, and none is held as a whole: there may be 100,000 of each.
    entries = heapq.merge(files(), links, pointers, key=attrgetter("path"))

    def proof() -> Proof:
        return Proof.PROVED if not unlisted and isinstance(snapshot.completeness, Complete) else Proof.UNPROVED

    return Manifest.recorded(snapshot.key, entries, proof)


def _file(file: LocalFile, digests: FileDigests) -> FileEntry:
    expected = file.expected
    comparable = expected is not None and (expected.algorithm is DigestAlgorithm.SHA256 or digests.git_sha1)
    if expected is not None and comparable and not digests.matches(expected):
        found = digests.sha256 if expected.algorithm is DigestAlgorithm.SHA256 else digests.git_sha1
        raise FileDamaged(file.path, f"{expected.source} says {expected.hex}, found {found}")
    return FileEntry(file.path, digests.size_bytes, file.mode, digests.sha256, digests.chunks)

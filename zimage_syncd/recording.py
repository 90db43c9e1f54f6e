"""Builds a manifest out of what a layout found and the digests of its files."""

from __future__ import annotations

from collections.abc import Mapping

from zimage_syncd.digest import FileDigests
from zimage_syncd.model.failures import FileDamaged
from zimage_syncd.model.manifest import Entry, FileEntry, LinkEntry, Manifest, PointerEntry, Proof
from zimage_syncd.model.snapshot import Complete, DigestAlgorithm, LocalFile, LocalSnapshot


def record(snapshot: LocalSnapshot, digests: Mapping[str, FileDigests]) -> Manifest:
    """The manifest of a snapshot; proved when every file agreed with a digest from elsewhere and none is missing.

    Args:
        snapshot: what a layout found.
        digests: of every file, by path. Whoever read a file compared its git digest; the sha256 is compared here.

    Raises:
        FileDamaged: a file is not what its publisher says.
        ManifestInvalid: the snapshot holds what no manifest may.
    """
    entries: list[Entry] = [_file(file, digests[file.path]) for file in snapshot.files]
    entries.extend(LinkEntry(link.path, link.target) for link in snapshot.links)
    entries.extend(PointerEntry(pointer.path, pointer.text, pointer.mode) for pointer in snapshot.pointers)
    listed = all(file.expected is not None for file in snapshot.files)
    proved = listed and isinstance(snapshot.completeness, Complete)
    entries.sort(key=lambda entry: entry.path)
    return Manifest(snapshot.key, Proof.PROVED if proved else Proof.UNPROVED, tuple(entries))


def _file(file: LocalFile, digests: FileDigests) -> FileEntry:
    expected = file.expected
    comparable = expected is not None and (expected.algorithm is DigestAlgorithm.SHA256 or digests.git_sha1)
    if expected is not None and comparable and not digests.matches(expected):
        found = digests.sha256 if expected.algorithm is DigestAlgorithm.SHA256 else digests.git_sha1
        raise FileDamaged(file.path, f"{expected.source} says {expected.hex}, found {found}")
    return FileEntry(file.path, digests.size_bytes, file.mode, digests.sha256, digests.chunks)

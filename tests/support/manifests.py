"""Small manifests with content, for tests of stores."""

from __future__ import annotations

from collections.abc import Mapping

from zimage_syncd.digest import FileHasher
from zimage_syncd.model.manifest import Entry, FileEntry, LinkEntry, Manifest, PointerEntry, Proof
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey
from zimage_syncd.ports import Archive

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def key_of(
    name: str = "acme/painter",
    revision: str = COMMIT,
    layout: LayoutName = LayoutName.HUGGINGFACE,
    kind: RepoType = RepoType.MODEL,
) -> SnapshotKey:
    return SnapshotKey(layout, RepoId(kind, name), revision)


def file_entry(path: str, data: bytes, mode: int = 0o644) -> FileEntry:
    hasher = FileHasher(len(data))
    hasher.update(data)
    digests = hasher.digests()
    return FileEntry(RelPath(path), len(data), mode, digests.sha256, digests.chunks)


def manifest_with(
    files: Mapping[str, bytes],
    key: SnapshotKey | None = None,
    links: Mapping[str, str] | None = None,
    pointers: Mapping[str, str] | None = None,
) -> Manifest:
    entries: list[Entry] = [file_entry(path, data) for path, data in files.items()]
    entries += [LinkEntry(RelPath(path), target) for path, target in (links or {}).items()]
    entries += [PointerEntry(RelPath(path), text) for path, text in (pointers or {}).items()]
    return Manifest(key or key_of(), Proof.PROVED, tuple(sorted(entries, key=lambda entry: entry.path)))


def upload(archive: Archive, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Writes the blobs of a manifest."""
    for entry in manifest.files:
        archive.put_blob(entry.sha256, files[entry.path])

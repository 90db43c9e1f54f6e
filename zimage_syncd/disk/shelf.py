"""The last good manifests: `.zimage-syncd/manifests/<layout>/<type>/<repository>/<revision>.json` on the data disk.

They tell damage from change: what a backup or a restore recorded here is what the cache has to hold.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from zimage_syncd.disk.document import read_pieces, write_document
from zimage_syncd.disk.errors import translated
from zimage_syncd.model.failures import Failure
from zimage_syncd.model.manifest import MAX_MANIFEST_BYTES, Manifest
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

_SUFFIX = ".json"
_MAX_BYTES = MAX_MANIFEST_BYTES + 1
"""One more than a manifest may have, so that a larger one is noticed."""


class DiskShelf:
    """A `ports.ManifestShelf` in a directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def _place(self, key: SnapshotKey) -> str:
        name = quote(key.revision, safe="") + _SUFFIX
        return os.path.join(self.directory, key.layout, key.repo.type, quote(key.repo.name, safe=""), name)

    def load(self, key: SnapshotKey) -> Manifest | None:
        """The last good manifest of one snapshot; None where there is none that can be trusted."""
        try:
            manifest = Manifest.from_pieces(lambda: read_pieces(self._place(key), _MAX_BYTES))
        except (OSError, Failure):
            return None
        return manifest if manifest.key == key else None

    def kept_at(self, key: SnapshotKey) -> datetime | None:
        """When the manifest of one snapshot was kept, UTC; None where there is none."""
        try:
            return datetime.fromtimestamp(os.stat(self._place(key)).st_mtime, UTC)
        except OSError:
            return None

    def save(self, manifest: Manifest) -> None:
        """Keeps a manifest as the last good one; where it is that already, the file is only given the present time.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        if not self.renew(manifest):
            write_document(self._place(manifest.key), manifest.pieces())

    def renew(self, manifest: Manifest) -> bool:
        """Whether a manifest is the last good one already; then its file is given the present time.

        Raises:
            PathUnwritable, DataDiskReadOnly, DiskError: as their names say.
        """
        place = self._place(manifest.key)
        if not _holds(place, manifest):
            return False
        with translated(place, writing=True):
            os.utime(place)
        return True

    def keys(self) -> list[SnapshotKey]:
        """All snapshots that have one."""
        found = []
        for directory, _, names in os.walk(self.directory):
            parts = os.path.relpath(directory, self.directory).split(os.sep)
            if len(parts) != 3:
                continue
            for name in names:
                if name.endswith(_SUFFIX) and not name.startswith("."):
                    key = _key((*parts, name.removesuffix(_SUFFIX)))
                    if key is not None:
                        found.append(key)
        return sorted(found)


def _holds(place: str, manifest: Manifest) -> bool:
    """Whether a file has exactly a manifest's bytes: reading and hashing 57 MB takes a tenth of writing them."""
    digest = hashlib.sha256()
    try:
        if os.stat(place, follow_symlinks=False).st_size != manifest.json_bytes:
            return False
        for piece in read_pieces(place, _MAX_BYTES):
            digest.update(piece)
    except OSError:
        return False
    return digest.hexdigest() == manifest.id


def _key(parts: tuple[str, ...]) -> SnapshotKey | None:
    layout, kind, repo, revision = parts
    try:
        return SnapshotKey(LayoutName(layout), RepoId(RepoType(kind), unquote(repo)), unquote(revision))
    except (ValueError, Failure):
        return None


class MemoryShelf:
    """A `ports.ManifestShelf` that forgets: for restores beside the cache."""

    def __init__(self) -> None:
        self._manifests: dict[SnapshotKey, Manifest] = {}

    def load(self, key: SnapshotKey) -> Manifest | None:
        """What was saved before by this process."""
        return self._manifests.get(key)

    def save(self, manifest: Manifest) -> None:
        """Keeps a manifest for this process."""
        self._manifests[manifest.key] = manifest

    def renew(self, manifest: Manifest) -> bool:
        """Whether it is what was saved last."""
        return self._manifests.get(manifest.key) == manifest

    def keys(self) -> list[SnapshotKey]:
        """All snapshots that have one."""
        return sorted(self._manifests)

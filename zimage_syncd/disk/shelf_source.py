"""The data disk's own manifests as a source of snapshots without payload: the hubs have the bytes.

A cache that was wiped is known by what was last good in it. Names are those of the manifest's own references; where
two manifests claim one, the one that was kept last has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from zimage_syncd.disk.shelf import DiskShelf
from zimage_syncd.model.failures import BlobMissing, NotInStore
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import LayoutName, RepoId
from zimage_syncd.ports import OnBytes, StoredSnapshot

_REFERENCES = "/refs/"


class ShelfSource:
    """A `ports.SnapshotSource` that has no file.

    Args:
        shelf: the data disk's.
        host: this machine's name.
    """

    name = "the data disk's records"

    def __init__(self, shelf: DiskShelf, host: str) -> None:
        self._shelf = shelf
        self._host = host
        self._manifests: dict[str, Manifest] = {}

    def describe(self) -> str:
        """Where they lie."""
        return self._shelf.directory

    def modes(self) -> frozenset[LinkMode]:
        """None: there is nothing to link to."""
        return frozenset()

    def snapshots(self) -> list[StoredSnapshot]:
        """What was last good, the newest of every layout, repository and name, sorted by these."""
        return [next(items) for _, items in groupby(self._all(), key=_place)]

    def history(self, layout: LayoutName, repo: RepoId, name: str) -> list[StoredSnapshot]:
        """All that claim one name, the newest first."""
        return [item for item in self._all() if _place(item) == (layout, repo, name)]

    def manifest_of(self, stored: StoredSnapshot, on_bytes: OnBytes) -> Manifest:  # noqa: ARG002 - nothing is hashed
        """The manifest of what `snapshots` listed."""
        return self.manifest(stored.manifest_id)

    def manifest(self, manifest_id: str) -> Manifest:
        """A manifest that `snapshots` or `history` listed.

        Raises:
            NotInStore: they did not.
        """
        if manifest_id not in self._manifests:
            raise NotInStore(manifest_id, f"not in {self.describe()}")
        return self._manifests[manifest_id]

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:  # noqa: ARG002
        """Has no bytes.

        Raises:
            BlobMissing: always.
        """
        raise BlobMissing(file.path, f"{self.name} hold manifests only")

    def local_path(self, file: FileEntry) -> str | None:  # noqa: ARG002 - the port's
        """None."""
        return None

    def _all(self) -> list[StoredSnapshot]:
        """Everything, sorted by layout, repository and name, then the newest first."""
        found: list[StoredSnapshot] = []
        for key in self._shelf.keys():  # noqa: SIM118 - a method of its own, no dictionary's
            manifest = self._shelf.load(key)
            kept_at = self._shelf.kept_at(key)
            if manifest is None or kept_at is None:
                continue
            self._manifests[manifest.id] = manifest
            found.extend(
                StoredSnapshot(key.layout, key.repo, name, manifest.id, kept_at, self._host, 1)
                for name in _names(manifest)
            )
        return sorted(found, key=lambda item: (_place(item), -item.created_at.timestamp()))


def _names(manifest: Manifest) -> list[str]:
    """Branches and tags whose reference belongs to a snapshot; its revision where there is none."""
    named = {entry.path.partition(_REFERENCES)[2] for entry in manifest.pointers if _REFERENCES in entry.path}
    return sorted(named) or [manifest.key.revision]


def _place(item: StoredSnapshot) -> tuple[LayoutName, RepoId, str]:
    return item.layout, item.repo, item.name

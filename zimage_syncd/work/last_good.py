"""The last good manifest of a snapshot where the data disk has no record of its own: what a store has."""

from __future__ import annotations

from collections.abc import Sequence

from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import SnapshotSource


def stored(sources: Sequence[SnapshotSource], key: SnapshotKey) -> Manifest | None:
    """What stores have of a snapshot; None where none has it.

    Args:
        sources: asked in this order; one that does not answer is passed over.
        key: exactly this snapshot.
    """
    for source in sources:
        try:
            items = [item for item in source.snapshots() if (item.layout, item.repo) == (key.layout, key.repo)]
        except Stopped:
            raise
        except Failure:
            continue  # another store may answer; none at all is as if there were no record
        for item in items:
            manifest = _manifest(source, item.manifest_id) if item.manifest_id else None
            if manifest is not None and manifest.key == key:
                return manifest
    return None


def _manifest(source: SnapshotSource, manifest_id: str) -> Manifest | None:
    """One that cannot be read says nothing about those under other names."""
    try:
        return source.manifest(manifest_id)
    except Stopped:
        raise
    except Failure:
        return None

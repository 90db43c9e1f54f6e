"""What a job may still turn to when the stores lack something: the hubs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zimage_syncd.model.manifest import Manifest
from zimage_syncd.ports import ChunkSource, Hub, SnapshotSource


@dataclass(frozen=True, slots=True)
class LastResort:
    """Hubs, which have bytes and no manifests, and the manifests by which those bytes are known."""

    hubs: tuple[Hub, ...] = ()
    """In the configured order; empty: none is to be asked."""
    records: SnapshotSource | None = None
    """The last good manifests of the data disk; None: not to be used."""

    def sources(self, manifest: Manifest) -> Sequence[ChunkSource]:
        """Those hubs that may have the payload of a manifest; nobody is asked yet."""
        return [hub.for_manifest(manifest) for hub in self.hubs if hub.serves(manifest.key)]

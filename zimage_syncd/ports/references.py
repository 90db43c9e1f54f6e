"""Where references of pictures are kept: on the data disk, and in archives beside the manifests."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.picture import Reference


class ReferenceShelf(Protocol):
    """The references of every snapshot, by manifest, on the data disk; never replaced."""

    def load(self, manifest_id: str) -> tuple[Reference, ...]:
        """Those of one snapshot that can be trusted, the oldest first, with the places of their pictures."""

    def picture(self, reference: Reference) -> bytes | None:
        """The PNG of a reference that `load` gave; None where it is not what was kept."""

    def keep(self, reference: Reference, picture: bytes) -> bool:
        """Keeps a reference and its PNG; False where one of the same conditions is kept, or too many are.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """


@runtime_checkable
class KeepsReferences(Protocol):
    """A store that keeps references beside its manifests (docs/format.md)."""

    @property
    def name(self) -> str:
        """As configured, such as `bucket`."""

    def reference_names(self, manifest: Manifest) -> list[str]:
        """The names of those that it has for a snapshot, sorted (see `model.picture_json.name_of`)."""

    def reference(self, manifest: Manifest, name: str) -> tuple[Reference, bytes]:
        """One of them and its PNG, validated.

        Raises:
            ObjectMissing: there is none, or no PNG.
            StoreBroken: it cannot be trusted.
        """

    def understands_reference(self, manifest: Manifest, name: str) -> bool:
        """Whether the document of that name can be trusted; its PNG is not read.

        Raises:
            StoreUnreachable, StoreDenied: as their names say.
        """

    def put_reference(self, manifest: Manifest, reference: Reference, picture: bytes) -> bool:
        """Writes one and its PNG; False where one of this name is there, too many are, or the manifest is not.

        One that cannot be trusted is replaced.

        Raises:
            StoreUnreachable, StoreDenied, DeviceFull: as their names say.
        """

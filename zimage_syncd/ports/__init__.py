"""The small protocols that jobs need: who implements them is known to the composition alone."""

from zimage_syncd.model.snapshot import FileStat
from zimage_syncd.ports.disk import Absent, Disk, Other, Partial, Reader, Seen, SeenFile, SeenLink, file_stat
from zimage_syncd.ports.layout import Layout
from zimage_syncd.ports.lease import Lease, Unshared
from zimage_syncd.ports.old_directory import OldDirectory, OldEntry
from zimage_syncd.ports.progress import Cancel, Clock, Monitor, OnBytes
from zimage_syncd.ports.pulling import Alone, NoPuller, Puller, Pullers, Reopenable, Team
from zimage_syncd.ports.references import KeepsReferences, ReferenceShelf
from zimage_syncd.ports.sources import (
    Archive,
    BlobInfo,
    ChunkSource,
    Hub,
    Intent,
    Reserved,
    SnapshotSource,
    StoredSnapshot,
    Strained,
)
from zimage_syncd.ports.state import Ledger, LedgerEntry, ManifestShelf, PendingUpload, Probe, ReportStore, SentPart
from zimage_syncd.ports.uploads import BlobUpload, PartBody, ResumedUpload

__all__ = [
    "Absent",
    "Alone",
    "Archive",
    "BlobInfo",
    "BlobUpload",
    "Cancel",
    "ChunkSource",
    "Clock",
    "Disk",
    "FileStat",
    "Hub",
    "Intent",
    "KeepsReferences",
    "Layout",
    "Lease",
    "Ledger",
    "LedgerEntry",
    "ManifestShelf",
    "Monitor",
    "NoPuller",
    "OldDirectory",
    "OldEntry",
    "OnBytes",
    "Other",
    "PartBody",
    "Partial",
    "PendingUpload",
    "Probe",
    "Puller",
    "Pullers",
    "Reader",
    "ReferenceShelf",
    "Reopenable",
    "ReportStore",
    "Reserved",
    "ResumedUpload",
    "Seen",
    "SeenFile",
    "SeenLink",
    "SentPart",
    "SnapshotSource",
    "StoredSnapshot",
    "Strained",
    "Team",
    "Unshared",
    "file_stat",
]

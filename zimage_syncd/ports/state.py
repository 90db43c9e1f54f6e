"""What outlives a reset on the data disk, and the probe."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from zimage_syncd.digest import FileDigests
from zimage_syncd.model.health import HealthRequest, HealthResult
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.report import Report
from zimage_syncd.model.snapshot import FileStat, SnapshotKey
from zimage_syncd.ports.progress import Cancel


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What was once computed of a file that has not changed since, as far as its stat tells."""

    digests: FileDigests
    """sha256 and chunks; git_sha1 is empty."""
    verified_at: datetime
    """When all of it was last read and hashed."""


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload that this cache began and has not finished."""

    store: str
    """The store's name."""
    sha256: str
    """The blob."""
    upload_id: str | None
    """The store's own name for it; None where the process ended before it was known."""


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that a store has taken."""

    mark: str
    """The store's (see `ResumedUpload.mark`)."""
    chunks: tuple[str, ...]
    """BLAKE3-256 of each 16 MiB chunk of what was sent, lower-case hexadecimal."""


class Ledger(Protocol):
    """What has been verified when, on the data disk; a hint that may be lost at any time."""

    def lookup(self, path: RelPath, stat: FileStat) -> LedgerEntry | None:
        """What is known of a file, unless its stat has changed since."""

    def digests(self, path: RelPath, stat: FileStat) -> FileDigests | None:
        """The same without the time."""

    def was_good(self, path: RelPath, mtime_ns: int, sha256: str) -> bool:
        """Whether a file was recorded with this content and this time of modification.

        If so, other content under the same time is the disk's doing and nobody's work.
        """

    def record(
        self, path: RelPath, stat: FileStat, digests: FileDigests, verified_at: datetime, *, settled: bool = False
    ) -> None:
        """Keeps what was just computed. Does nothing for a file that changed less than 2 s before, unless `settled`.

        Settled is what `Disk.finish_file` gave its name: its time of modification is one that no later write gives it.
        """

    def forget(self, path: RelPath) -> None:
        """Removes what is known of a file."""

    def begin_upload(self, store: str, sha256: str) -> None:
        """An upload is about to begin; what is known of an earlier one of this blob is forgotten."""

    def know_upload(self, store: str, sha256: str, upload_id: str) -> None:
        """The store has named it."""

    def know_part(self, store: str, sha256: str, number: int, part: SentPart, at: datetime) -> None:
        """The store has taken part `number`, just now (`at`)."""

    def sent_parts(self, store: str, sha256: str) -> dict[int, SentPart]:
        """The parts of a pending upload that the store has taken, by number."""

    def end_upload(self, store: str, sha256: str) -> None:
        """It was completed or aborted."""

    def pending_uploads(self, store: str) -> list[PendingUpload]:
        """What a crash left."""


class ManifestShelf(Protocol):
    """The last good manifest of every snapshot, kept on the data disk."""

    def load(self, key: SnapshotKey) -> Manifest | None:
        """The last good manifest of one snapshot; None where there is none that can be trusted."""

    def save(self, manifest: Manifest) -> None:
        """Keeps a manifest as the last good one."""

    def renew(self, manifest: Manifest) -> bool:
        """Whether a manifest is the last good one already; then it counts as kept now."""

    def keys(self) -> list[SnapshotKey]:
        """All snapshots that have one."""


class ReportStore(Protocol):
    """Where reports are kept, on the data disk."""

    def save(self, report: Report) -> str:
        """Keeps a report; returns its absolute path."""


class Probe(Protocol):
    """The health check's own process."""

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        """Runs one health check and waits for its end; never raises for what the check finds.

        A process that was prepared for the request's layout is used, and the next request starts another.
        """

    def prepare(self, layout: str) -> None:
        """Starts a process for a request that will come, so that its imports are done by then; returns at once.

        Does nothing where one is prepared already, and never raises: `run` tells what is wrong. It touches no GPU.

        Args:
            layout: `LayoutName` of the snapshot that the request will be for.
        """

    def dismiss(self) -> None:
        """Ends a prepared process that was not used, if there is one; never raises."""

"""What a job found and did, as data: the same for terminal, JSON, report files and logs.

Everything here says what happened, never what was planned.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime

from zimage_syncd.model.problems import Problem, Severity


class Job(enum.StrEnum):
    """Which job a report is about."""

    BACKUP = "backup"
    RESTORE = "restore"
    VERIFY = "verify"
    VERIFY_STORE = "verify-store"
    HEALTH = "health"
    CYCLE = "cycle"
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or was, and did not stop the rest."""

    problem: Problem
    """The catalogue's entry."""
    subject: str
    """The file, link, snapshot, blob or store."""
    detail: str = ""
    """Expected and found."""
    chunks: tuple[int, ...] = ()
    """Indexes of the damaged 16 MiB chunks, where that is known."""
    mended: bool = False
    """Whether this job put it right."""

    @property
    def counts(self) -> bool:
        """Whether it makes the exit code 2: everything but notes, also when it was mended."""
        return self.problem.severity is not Severity.NOTE


@dataclass(frozen=True, slots=True)
class SourceUse:
    """How much came from where."""

    source: str
    """A store's name."""
    read_bytes: int
    """Bytes taken from it."""


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """What a job did with one snapshot."""

    snapshot: str
    """`SnapshotKey` as text."""
    action: str
    """One word or two: restored, unchanged, backed up, refused, verified, skipped, failed, would restore."""
    detail: str = ""
    """Why, or which."""
    manifest_id: str = ""
    """The snapshot's id, where it has one."""
    files: int = 0
    """Payload files that it has."""
    total_bytes: int = 0
    """Payload bytes that it has."""
    checked_bytes: int = 0
    """Bytes read and compared with their digests."""
    written_bytes: int = 0
    """Bytes written to the cache, or uploaded."""
    linked_bytes: int = 0
    """Bytes linked instead of copied."""
    sources: tuple[SourceUse, ...] = ()
    """Where the bytes came from."""
    directory: str = ""
    """The absolute path that `from_pretrained` takes."""
    picture: str = ""
    """Absolute path of the PNG that a health check drew."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one job."""

    job: Job
    """Which."""
    started_at: datetime
    """UTC."""
    elapsed_s: float
    """By the monotonic clock."""
    snapshots: tuple[SnapshotResult, ...] = ()
    """One for each snapshot that the job looked at."""
    findings: tuple[Finding, ...] = ()
    """All that was found, in the order of files."""
    notes: tuple[str, ...] = field(default=())
    """Sentences for people: links made, what to do next."""
    failed: bool = False
    """Whether nothing of what the job is for could be done, for no fault of the cache: no store took anything."""

    @property
    def exit_code(self) -> int:
        """0 when nothing was found; 2 with findings; 1 where nothing could be done; see design: command line."""
        if self.failed:
            return 1
        return 2 if any(finding.counts for finding in self.findings) else 0

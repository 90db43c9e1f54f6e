"""What `status`, `snapshots` and `health` answer, as data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zimage_syncd.model.health import HealthResult
from zimage_syncd.model.report import Finding, Report

UNREACHABLE = "unreachable"
"""A `SnapshotRow.state`: the store could not be asked."""


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One snapshot in one place."""

    place: str
    """`cache`, or a store's name."""
    repo: str
    """`ORG/NAME`, with its type where it is no model."""
    revision: str
    """Commit, or ModelScope's revision; empty where only the manifest would tell."""
    names: tuple[str, ...]
    """Branches and tags."""
    layout: str
    """How it lies on disk."""
    manifest_id: str
    """The snapshot's id; empty where it was never recorded."""
    size_bytes: int
    """Bytes of payload; 0 where only the manifest would tell."""
    files: int
    """Payload files; 0 where only the manifest would tell."""
    state: str
    """complete, incomplete, cannot tell; stored for a store's; unreachable for a store that could not be asked."""
    detail: str = ""
    """Why."""
    created_at: datetime | None = None
    """When it was stored, UTC."""
    proof: str = ""
    """proved, unproved, or empty where it was never recorded."""
    last_verified_at: datetime | None = None
    """The oldest time at which one of its files was last read whole, UTC; None where one never was."""


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One cache link."""

    path: str
    """Where libraries look."""
    state: str
    """good, lost, real directory, elsewhere, dangling."""
    target: str
    """Where it leads."""


@dataclass(frozen=True, slots=True)
class StoreRow:
    """One configured store."""

    name: str
    """As configured."""
    url: str
    """Its address without secrets."""
    kind: str
    """cache tree, directory, s3, fsspec."""
    reachable: bool | None
    """None where nobody asked."""
    detail: str = ""
    """Why not."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One report that was kept."""

    job: str
    """Which job."""
    at: datetime
    """When it began, UTC."""
    outcome: str
    """In words."""
    path: str
    """Its file."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How one time of the last health check compares with what was usual before it."""

    name: str
    """first image: from the probe's start to its result; step: one denoising step."""
    last_s: float
    """Of the last check, in seconds."""
    median_s: float
    """Of the good checks before it that drew the same on the same kind of card, in seconds."""
    checks: int
    """How many these were."""
    ratio: float
    """The one by the other."""
    word: str
    """slower, faster, as usual."""


@dataclass(frozen=True, slots=True)
class HealthRow:
    """What is known of a snapshot's health checks."""

    snapshot: str
    """`SnapshotKey` as text."""
    at: datetime
    """When the last one began, UTC."""
    outcome: str
    """Its `HealthOutcome`."""
    level: str
    """Its `HealthLevel`: what was really done."""
    detail: str
    """Why, for people."""
    device: str
    """Where the last picture was drawn; empty where none was."""
    picture: str
    """The last picture's absolute path; empty where none was drawn."""
    picture_at: datetime | None
    """When that was drawn, UTC."""
    picture_outcome: str
    """The `HealthOutcome` of the check that drew it."""
    likeness: str
    """How it compares with its reference: a `Likeness`; empty where there was none to compare with."""
    side_by_side: str
    """The picture of both, where these are different."""
    first_image_s: float | None
    """From the probe's start to its result, for the last picture, in seconds."""
    step_s: float | None
    """Of one denoising step of the last picture, in seconds."""
    peak_memory_bytes: int
    """Of the device, for the last picture; 0 where none was drawn."""
    trends: tuple[Trend, ...] = ()
    """Where there is enough to say."""
    dated_ahead: int = 0
    """How many of its checks are dated later than now, and are taken as the oldest: a clock was wrong."""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that `status` shows."""

    cache_dir: str
    """cache.dir."""
    mount: str
    """cache.mount; empty where there is none to check."""
    disk: str
    """The data disk's states, in words."""
    system: str
    """The system disk's state, in words."""
    free_bytes: int
    """For ordinary users."""
    total_bytes: int
    """Of the file system."""
    cache_id: str
    """By which the cache is known; empty where there is no identity yet."""
    links: tuple[LinkRow, ...]
    """The cache links."""
    snapshots: tuple[SnapshotRow, ...]
    """What the cache holds."""
    stores: tuple[StoreRow, ...]
    """The configured stores."""
    lock_holder: str
    """Who works on the cache now; empty where nobody does."""
    last_reports: tuple[ReportRow, ...]
    """The newest first."""
    findings: tuple[Finding, ...]
    """What is wrong now."""
    health: tuple[HealthRow, ...] = ()
    """The last health check of each snapshot, and what became of its times."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What a health check found."""

    report: Report
    """Rows and findings."""
    results: tuple[tuple[str, HealthResult], ...]
    """Each snapshot's text and the probe's answer."""

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


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What a health check found."""

    report: Report
    """Rows and findings."""
    results: tuple[tuple[str, HealthResult], ...]
    """Each snapshot's text and the probe's answer."""

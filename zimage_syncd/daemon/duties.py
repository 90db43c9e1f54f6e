"""What the daemon does, as functions that are bound to one configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zimage_syncd.daemon.state import LastRuns
from zimage_syncd.decide.due import Schedule
from zimage_syncd.model.report import Finding, Report
from zimage_syncd.model.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Duties:
    """What the daemon does, bound to one configuration."""

    cycle: Callable[[Callable[[Verdict], None]], tuple[Verdict, Report]]
    """observe → … → report; calls what it is given when the disks were looked at and the cache links are there."""
    jobs: Mapping[str, Callable[[], Report]]
    """Jobs by name: scheduled ones, the backup that changes lead to, and the health check that is tried again."""
    schedules: Mapping[str, Schedule]
    """When each of them is due."""
    last_runs: LastRuns
    """When each of them last ran."""
    identity: str
    """The cache's id; the jitter depends on it."""
    links: tuple[str, ...] = ()
    """cache.links, which are watched."""
    keep_links: Callable[[], tuple[list[str], list[Finding]]] = lambda: ([], [])
    """Makes cache links that are lost; returns sentences and findings. Called from another thread than the jobs."""
    cache: str = ""
    """cache.dir, whose changes lead to a backup where `jobs` has one."""
    state: str = ""
    """This program's directory on the data disk, whose changes do not."""
    settle_s: float = 60.0
    """backup.settle_s."""
    is_written: Callable[[], bool] = lambda: False
    """Whether some process has a file of the cache open for writing."""
    is_gone: Callable[[], bool] = lambda: False
    """Whether the data disk is there, and nothing is in the cache."""
    rest: Callable[[], None] = lambda: None
    """Called after each job: gives back what it used."""
    disk: Callable[[], object] = lambda: None
    """What changes when the data disk is mounted, unmounted or replaced."""
    is_taken: Callable[[], bool] = lambda: False
    """Whether another host has taken the data disk over since the last cycle."""
    is_shared: Callable[[], bool] = lambda: False
    """Whether other hosts may change the cache: what they do makes no event here."""

"""`zimage-syncd run`: one cycle at start, then what the clock starts, until SIGTERM.

The daemon itself decides nothing: cycle and jobs come in bound to a configuration, due times from `decide/due.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo

from zimage_syncd.daemon.runner import Runner
from zimage_syncd.daemon.schedule import Timer
from zimage_syncd.daemon.settling import Settling
from zimage_syncd.daemon.state import LastRuns
from zimage_syncd.daemon.tree_watch import TreeWatch
from zimage_syncd.daemon.watch import Watch
from zimage_syncd.decide.due import Schedule
from zimage_syncd.logs import Logger
from zimage_syncd.model.failures import CacheBusy, Failure, Stopped
from zimage_syncd.model.report import Finding, Report
from zimage_syncd.model.verdict import Verdict
from zimage_syncd.ports import Cancel, Clock

CYCLE = "cycle"
_FIRST_START = "first start"
_LOOK_AGAIN = "look again"
_EVERY_MINUTE = Schedule("* * * * *")
"""How often a cycle is tried again while the data disk is missing, foreign or read-only."""
BACKUP = "backup"
_RETRY_S = 600.0
"""When a backup that failed is tried again, at the earliest."""
_LEAST_PAUSE_S = 30.0
"""A slot that falls right after a cycle asks for no second one: at start, the slots before it count as missed."""


@dataclass(frozen=True, slots=True)
class Duties:
    """What the daemon does, bound to one configuration."""

    cycle: Callable[[], tuple[Verdict, Report]]
    """observe → … → report."""
    jobs: Mapping[str, Callable[[], Report]]
    """Scheduled jobs by name."""
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
    disk: Callable[[], object] = lambda: None
    """What changes when the data disk is mounted, unmounted or replaced."""


class Service:
    """The long-running process."""

    def __init__(self, duties: Duties, clock: Clock, zone: tzinfo, cancel: Cancel, log: Logger) -> None:
        self._duties = duties
        self._clock = clock
        self._log = log
        jobs: dict[str, Callable[[], None]] = {name: self._scheduled(name) for name in duties.jobs}
        self._runner = Runner({CYCLE: self._cycle, **jobs}, cancel, log)
        since = duties.last_runs.get(_FIRST_START)
        if since is None:
            since = clock.now()
            duties.last_runs.set(_FIRST_START, since)
        self._blocked = False
        self._looked_s = clock.monotonic_s()
        schedules = {**duties.schedules, _LOOK_AGAIN: _EVERY_MINUTE}
        runs = duties.last_runs
        self._watch = Watch(duties.links, self._keep_links, self._mounts_changed, log)
        self._settling = Settling(duties.settle_s, duties.is_written, clock)
        self._tree = TreeWatch(duties.cache, duties.state, self._settling.changed, log)
        self._disk = duties.disk()
        self._link_findings: list[Finding] = []
        self._timer = Timer(
            schedules,
            runs.get,
            self._submit,
            clock,
            zone,
            duties.identity,
            since,
            runs.queued,
            self._look_for_downloads,
        )

    def stop(self) -> None:
        """Asks the service to end; the job under way ends between two chunks."""
        self._runner.stop()

    def run(self) -> int:
        """Works until `stop`; returns the process's exit code."""
        self._log.info("started")
        self._runner.submit(CYCLE)
        self._timer.start()
        self._watch.start()
        try:
            self._runner.run()
        finally:
            self._tree.stop()
            self._watch.stop()
            self._timer.stop()
        self._log.info("stopped")
        return 0

    def _submit(self, name: str) -> None:
        if name != _LOOK_AGAIN:
            self._runner.submit(name)
        elif self._blocked and self._clock.monotonic_s() - self._looked_s >= _LEAST_PAUSE_S:
            self._runner.submit(CYCLE)

    def _look_for_downloads(self) -> None:
        if BACKUP not in self._duties.jobs:
            return
        self._tree.ensure()
        if self._settling.take():
            self._runner.submit(BACKUP)

    def _mounts_changed(self) -> None:
        disk = self._duties.disk()
        if disk != self._disk:
            self._disk = disk
            self._log.info("the data disk was mounted, unmounted or replaced")
            self._runner.submit(CYCLE)

    def _keep_links(self) -> None:
        notes, findings = self._duties.keep_links()
        for note in notes:
            self._log.info("link", text=note)
        if findings != self._link_findings:
            self._link_findings = findings
            for finding in findings:
                self._warn("links", finding)

    def _cycle(self) -> None:
        verdict, report = self._duties.cycle()
        self._looked_s = self._clock.monotonic_s()
        self._blocked = not verdict.may_write
        self._log.info(
            "disks looked at",
            system=str(verdict.system),
            data=sorted(verdict.data),
            cache=str(verdict.cache),
            boot=str(verdict.boot),
            links={path: str(state) for path, state in verdict.links},
            evidence=list(verdict.evidence),
        )
        self._tell(report)

    def _scheduled(self, name: str) -> Callable[[], None]:
        def act() -> None:
            began_at = self._clock.now()
            try:
                report = self._duties.jobs[name]()
            except (Stopped, CacheBusy):
                if name == BACKUP:
                    self._settling.changed()
                raise  # it did not run, so it stays due
            except Failure:
                if name == BACKUP:
                    self._settling.changed(_RETRY_S)
                self._duties.last_runs.set(name, began_at)
                raise
            if name == BACKUP and report.failed:
                self._settling.changed(_RETRY_S)
            self._duties.last_runs.set(name, began_at)
            self._duties.last_runs.done(name, began_at)
            self._tell(report)

        return act

    def _tell(self, report: Report) -> None:
        for result in report.snapshots:
            self._log.info(
                "snapshot", job=str(report.job), snapshot=result.snapshot, action=result.action, detail=result.detail
            )
        for note in report.notes:
            self._log.info("note", job=str(report.job), text=note)
        for finding in report.findings:
            self._warn(str(report.job), finding)

    def _warn(self, job: str, finding: Finding) -> None:
        self._log.warning(
            "finding",
            job=job,
            code=finding.problem.code,
            problem=finding.problem.title,
            subject=finding.subject,
            detail=finding.detail,
            mended=finding.mended,
            remedy="" if finding.mended else finding.problem.remedy,
        )

"""`zimage-syncd run`: one cycle at start, then what the clock starts, until SIGTERM.

The daemon itself decides nothing: cycle and jobs come in bound to a configuration, due times from `decide/due.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from functools import partial

from zimage_syncd.daemon.duties import Duties
from zimage_syncd.daemon.heartbeat import Heartbeat
from zimage_syncd.daemon.journal import Journal
from zimage_syncd.daemon.notify import ServiceManager
from zimage_syncd.daemon.owed_check import PROVE, OwedCheck
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.daemon.reload import Reloader
from zimage_syncd.daemon.runner import Runner
from zimage_syncd.daemon.schedule import ASK_EVERY_S, Timer
from zimage_syncd.daemon.watching import BACKUP, Watching
from zimage_syncd.decide.due import Schedule
from zimage_syncd.logs import Logger
from zimage_syncd.model import problems
from zimage_syncd.model.failures import CacheBusy, DataDiskInUse, Failure, NoResources, Stopped, told
from zimage_syncd.model.report import Report
from zimage_syncd.model.verdict import Verdict
from zimage_syncd.ports import Clock

CYCLE = "cycle"
_FIRST_START = "first start"
_LOOK_AGAIN = "look again"
_PROVE_AGAIN = "prove again"
_NAMES = {
    CYCLE: "looking at disks and cache",
    "quick": "quick verification",
    "deep": "deep verification",
    BACKUP: "backup",
    PROVE: "health check",
}
"""What a job is called where it tells nothing better of itself."""
_EVERY_MINUTE = Schedule("* * * * *")
"""How often it is asked whether a health check shall be tried again, or a cycle: because the data disk was missing,
foreign, read-only or in use, a store could not be reached, the disk was full, or somebody else was at work on the
cache."""
_PASSING = frozenset(
    {problems.STORE_UNREACHABLE, problems.STORE_MISSING, problems.STORE_DENIED, problems.STORE_BROKEN}
    | {problems.CACHE_BUSY, problems.TAKE_IN_BUSY, problems.FILE_CHANGING, problems.NO_SPACE, problems.DEVICE_FULL}
)
"""What may be gone after a while: then a cycle or a backup is tried again. A share that is mounted late is a missing
store, and a clock that is wrong at the start lets S3 deny everything."""
_LEAST_ASK_S = 1.0
"""How often is asked at most."""
_LEAST_PAUSE_S = 30.0
"""A slot that falls right after a cycle asks for no second one: at start, the slots before it count as missed."""
_LONGEST_PAUSE_S = 900.0
"""A store that stays away is asked less and less often, down to this: each attempt leaves a report."""


class Service:
    """The long-running process."""

    def __init__(
        self,
        duties: Duties,
        clock: Clock,
        zone: tzinfo,
        pulse: Pulse,
        log: Logger,
        manager: ServiceManager,
        load: Callable[[], Duties],
        claim: Callable[[], None],
    ) -> None:
        """Prepares; nothing runs yet.

        Args:
            duties: what to do, and when.
            clock: the time.
            zone: whose wall clock the schedules mean.
            pulse: is told by all jobs that they advance.
            log: where it tells what it did.
            manager: is told what the daemon does now.
            load: what to do by the configuration as it is now; raises what is wrong with it.
            claim: keeps other daemons away from the cache as it is now.
        """
        self._duties = duties
        self._clock = clock
        self._zone = zone
        self._pulse = pulse
        self._log = log
        self._journal = Journal(log)
        self._manager = manager
        self._load = load
        self._claim = claim
        self._reloader = Reloader(self._reload)
        self._heartbeat = Heartbeat(manager, pulse.alive, self._doing)
        acts: dict[str, Callable[[], None]] = {name: partial(self._do, name) for name in (*duties.jobs, PROVE)}
        acts |= {CYCLE: self._cycle, BACKUP: self._back_up}
        self._runner = Runner({name: self._watched(name, act) for name, act in acts.items()}, log, duties.rest)
        self._is_ready = False
        self._plans = ""
        self._blocked = ""
        self._is_empty = True
        """Whether nothing was in the cache when a job last ended."""
        self._pause_s: float | None = None
        """How long after the last cycle another one is tried; None: it needs none."""
        self._looked_s = clock.monotonic_s()
        self._owed_check = OwedCheck(duties.last_runs, clock)
        self._watching = self._watch_over(duties)
        self._timer = self._timed(duties)

    def stop(self) -> None:
        """Asks the service to end; the job under way ends between two chunks."""
        self._manager.stopping()
        self._runner.stop()

    def reload(self) -> None:
        """Asks for the configuration to be read anew; safe to call from a signal's handler."""
        self._reloader.ask()

    def run(self) -> int:
        """Works until `stop`; returns the process's exit code.

        Raises:
            CacheBusy: another daemon has this cache.
        """
        self._claim()
        self._log.info("started")
        self._runner.submit(CYCLE)
        self._heartbeat.start()
        self._watching.start()
        self._timer.start()
        try:
            self._runner.run()
        finally:
            self._reloader.stop()
            self._timer.stop()  # before what it asks: nothing that has ended shall be begun again
            self._watching.stop()
            self._heartbeat.stop()
        self._log.info("stopped")
        return 0

    def _timed(self, duties: Duties) -> Timer:
        runs = duties.last_runs
        since = runs.get(_FIRST_START)
        if since is None:
            since = self._clock.now()
            runs.set(_FIRST_START, since)
        return Timer(
            _with_looks(duties.schedules),
            runs.get,
            self._submit,
            self._clock,
            self._zone,
            duties.identity,
            since,
            runs.queued,
            planned=self._planned,
            every_time=self._ask,
            every_s=_ask_every_s(duties),
        )

    def _watch_over(self, duties: Duties) -> Watching:
        submit = self._runner.submit
        return Watching(
            duties, lambda: submit(CYCLE), lambda: submit(BACKUP), self._journal.warn, self._clock, self._log
        )

    def _follow(self, duties: Duties) -> None:
        before, self._watching = self._watching, self._watch_over(duties)
        if before.is_begun:
            before.stop()
            self._watching.start()

    def _ask(self) -> None:
        self._watching.ask()  # another one after a reload

    def _submit(self, name: str) -> None:
        if name == _PROVE_AGAIN:
            if PROVE in self._duties.jobs and self._owed_check.take():
                self._runner.submit(PROVE)
        elif name != _LOOK_AGAIN:
            self._runner.submit(name)
        elif self._pause_s is not None and self._clock.monotonic_s() - self._looked_s >= self._pause_s:
            self._runner.submit(CYCLE)

    def _watched(self, name: str, act: Callable[[], None]) -> Callable[[], None]:
        def watched() -> None:
            try:
                with self._pulse.working(_NAMES.get(name, name)):
                    act()
            finally:
                self._ready()  # however the first cycle ended: the daemon is there, and goes on

        return watched

    def _begun(self, verdict: Verdict) -> None:
        """The disks were looked at, and what was missing of the cache directory is made."""
        self._journal.looked(verdict)
        self._claim()
        self._ready()

    def _ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._manager.ready()
            self._reloader.start()

    def _reload(self) -> None:
        """Follows a good configuration from the next job on; keeps the one before where it is not good."""
        self._manager.reloading()
        try:
            duties = self._load()
        except Failure as failure:
            self._log.error(
                "configuration refused, the one before stays",
                code=failure.problem.code,
                reason=str(failure),
                remedy=failure.problem.remedy,
            )
        except Exception:  # noqa: BLE001 - the daemon outlives every configuration; the log has the traceback
            self._log.exception("configuration could not be read, the one before stays")
        else:
            self._duties = duties
            self._follow(duties)
            self._timer.follow(_with_looks(duties.schedules), _ask_every_s(duties))
            self._log.info("configuration read anew")
            self._runner.submit(CYCLE)
        self._manager.ready()

    def _doing(self) -> str:
        """For people, in one line."""
        if doing := self._pulse.doing():
            return doing
        if self._blocked:
            return f"waiting: {self._blocked}"
        return f"idle{self._plans}" if self._is_ready else "starting"

    def _planned(self, runs: Mapping[str, datetime | None]) -> None:
        """Keeps what is due next in words: who asks for them must not wait for the data disk."""
        named = [
            f"{_NAMES[name]} {moment.astimezone(self._zone):%a %H:%M}"
            for name, moment in sorted(runs.items(), key=lambda run: run[0])
            if moment is not None and name in self._duties.jobs
        ]
        self._plans = f"; next {', '.join(named)}" if named else ""

    def _next_pause_s(self, verdict: Verdict, report: Report) -> float | None:
        if not verdict.may_write:
            return _LEAST_PAUSE_S
        if _may_pass(report):
            return _LEAST_PAUSE_S if self._pause_s is None else min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return None

    def _cycle(self) -> None:
        try:
            verdict, report = told(lambda: self._duties.cycle(self._begun))
        except NoResources:
            self._looked_s, self._pause_s = self._clock.monotonic_s(), _LEAST_PAUSE_S
            raise
        self._looked_s = self._clock.monotonic_s()
        self._blocked = verdict.obstacle
        self._is_empty = not report.snapshots
        self._pause_s = self._next_pause_s(verdict, report)
        self._owed_check.heard(report)
        self._journal.tell(report)

    def _mend_loss(self) -> None:
        """A cache that somebody deleted comes back now, and not with the clock's next verification.

        Where only parts are gone, that one tells a loss from what a library has cleaned up.
        """
        if not self._is_empty and self._duties.is_gone():
            self._log.info("the cache was deleted")
            self._cycle()

    def _back_up(self) -> None:
        """Asks for another one, soon or after a while, where this one could not be made."""
        try:
            self._mend_loss()
            self._do(BACKUP)
        except DataDiskInUse:
            self._watching.failed()  # the other host may keep the disk for days
            raise
        except (Stopped, CacheBusy):
            self._watching.put_off()
            raise
        except Failure:
            self._watching.failed()
            raise

    def _do(self, name: str) -> None:
        job = self._duties.jobs.get(name)
        if job is None:
            return  # asked for before a reload, by which it is not configured any more
        began_at = self._clock.now()
        try:
            report = told(job)
        except (Stopped, CacheBusy):
            raise  # it did not run, so it stays due
        except Failure:
            self._duties.last_runs.set(name, began_at)
            raise
        self._duties.last_runs.set(name, began_at)
        self._duties.last_runs.done(name, began_at)
        self._heard(name, report)
        self._journal.tell(report)

    def _heard(self, name: str, report: Report) -> None:
        """What follows from what a job found."""
        if report.snapshots:
            self._is_empty = False
        if name == PROVE:
            self._owed_check.ended(report)
        if name == BACKUP and (report.failed or _may_pass(report)):
            self._watching.failed()


def _may_pass(report: Report) -> bool:
    return any(finding.problem in _PASSING and not finding.mended for finding in report.findings)


def _with_looks(schedules: Mapping[str, Schedule]) -> dict[str, Schedule]:
    return {**schedules, _LOOK_AGAIN: _EVERY_MINUTE, _PROVE_AGAIN: _EVERY_MINUTE}


def _ask_every_s(duties: Duties) -> float:
    """A short backup.settle_s is kept to: whether a download has settled is asked with the clock's jobs."""
    return min(ASK_EVERY_S, max(_LEAST_ASK_S, duties.settle_s))

"""The timer that asks every few seconds which jobs are due, and hands them to the runner.

It decides nothing and remembers little: `decide.due` decides, and the last runs are on the data disk. APScheduler's own
cron trigger is not used: it counts Monday as 0, and skips a run that it missed by more than a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from zimage_syncd.decide.due import CLOCK_STEP_S, Schedule, next_due, spread_of
from zimage_syncd.ports import Clock

ASK_EVERY_S = 20
"""Seconds; less than a cron expression's minute. Asking anew, instead of sleeping until the next run, survives a
suspended machine and a clock that was set."""


_ASKING = "ask"
"""APScheduler's name of the one job."""


class _Pace(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """At once, then again and again.

    Not an interval trigger beside a job that runs once: removing that job races with a shutdown right after the start
    (APScheduler 3.11.3 then ends its thread with a JobLookupError).
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Counted from now, so that nothing piles up while the machine is suspended."""
        return now if previous_fire_time is None else now + timedelta(seconds=self._every_s)


class Timer:
    """Asks in a thread of its own, between `start` and `stop`."""

    def __init__(
        self,
        schedules: Mapping[str, Schedule],
        last_runs: Callable[[str], datetime | None],
        submit: Callable[[str], None],
        clock: Clock,
        zone: tzinfo,
        identity: str,
        since: datetime | None = None,
        queued: Callable[[str], datetime | None] = lambda _: None,
        planned: Callable[[Mapping[str, datetime | None]], None] = lambda _: None,
        every_time: Callable[[], None] = lambda: None,
        every_s: float = ASK_EVERY_S,
    ) -> None:
        """Prepares; nothing runs yet.

        Args:
            schedules: by the name of the job.
            last_runs: when a job last ran, UTC, or None; what it says may lag behind `submit`.
            submit: queues a job and returns at once.
            clock: the time.
            zone: whose wall clock the cron expressions mean.
            identity: the cache's id, which spreads the jobs of many machines over the jitter.
            since: from when on slots count for a job that never ran; None for this moment. A machine that is never on
                at a slot runs the job only if this is a time that outlives a restart.
            queued: when somebody asked for a run that has not been made, UTC, or None. It is submitted once; one that
                is put off or fails then waits for its slot, or for the next start.
            planned: is told at every asking when each job is due next, UTC; of one that is due now, at the next asking.
            every_time: is called at every asking.
            every_s: how long after one asking comes the next, seconds.
        """
        self._identity = identity
        self._last_runs = last_runs
        self._submit = submit
        self._clock = clock
        self._zone = zone
        self._since = since if since is not None else clock.now()
        self._queued = queued
        self._planned = planned
        self._every_time = every_time
        self._submitted: dict[str, datetime] = {}
        self._scheduler: BackgroundScheduler | None = None
        self.follow(schedules, every_s)

    def follow(self, schedules: Mapping[str, Schedule], every_s: float = ASK_EVERY_S) -> None:
        """From now on other schedules, which are asked for at once; what was submitted stays submitted."""
        self._every_s = every_s
        # One assignment: an asking that is under way in its thread goes on with what it has begun with.
        self._slots = {name: (schedule, spread_of(self._identity, name)) for name, schedule in schedules.items()}
        if self._scheduler is not None:
            self._scheduler.reschedule_job(_ASKING, trigger=_Pace(self._every_s))

    def start(self) -> None:
        """Begins to ask, at once and then every few seconds; does nothing where it already does."""
        if self._scheduler is not None:
            return
        # One worker thread, so that two askings never overlap. `None`: however late, it is asked.
        scheduler = BackgroundScheduler(timezone=UTC, executors={"default": ThreadPoolExecutor(1)})
        pace = _Pace(self._every_s)
        scheduler.add_job(self.ask, pace, id=_ASKING, misfire_grace_time=None, coalesce=True, max_instances=1)
        scheduler.start()
        self._scheduler = scheduler

    def stop(self) -> None:
        """Ends the threads; an `ask` under way is waited for."""
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)
            self._scheduler = None

    def ask(self) -> None:
        """Submits every job that is due, once for all the runs that it missed."""
        self._every_time()
        now = self._clock.now()
        runs = self._next_runs(now)
        for name, moment in runs.items():
            if moment is not None and moment <= now:
                self._submit(name)
                self._submitted[name] = now
        self._planned({name: moment for name, moment in runs.items() if moment is not None and moment > now})

    def next_runs(self) -> dict[str, datetime | None]:
        """When each job is due next, UTC: in the past where one was missed, None where it has no schedule."""
        return self._next_runs(self._clock.now())

    def _next_runs(self, now: datetime) -> dict[str, datetime | None]:
        slots = {
            name: next_due(
                schedule,
                last_run=self._last_run(name, now),
                since=self._since,
                now=now,
                zone=self._zone,
                spread=spread,
            )
            for name, (schedule, spread) in self._slots.items()
        }
        return {name: self._asked_for(name, now) or slot for name, slot in slots.items()}

    def _asked_for(self, name: str, now: datetime) -> datetime | None:
        """When a run was asked for that has not been submitted; a clock that ran ahead then does not delay it."""
        asked_at, submitted_at = self._queued(name), self._submitted.get(name)
        if asked_at is None or (submitted_at is not None and submitted_at >= min(asked_at, now)):
            return None
        return min(asked_at, now)

    def _last_run(self, name: str, now: datetime) -> datetime | None:
        """The later of what is recorded and what was submitted, for a job may still wait or run."""
        known = (self._last_runs(name), self._submitted.get(name))
        # Of the two, one may have been stamped by a clock that ran ahead, and the other since.
        return max((at for at in known if at is not None and (at - now).total_seconds() <= CLOCK_STEP_S), default=None)

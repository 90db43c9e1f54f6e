"""The timer submits what is due, once, and leaves no thread behind."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.clock import HeldClock
from zimage_syncd.daemon.schedule import Timer
from zimage_syncd.decide.due import Schedule

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def clock_at_noon() -> HeldClock:
    clock = HeldClock()
    clock.moment = NOON
    return clock


@dataclass
class Machine:
    """A timer with a runner that only writes down what it was given, and a record of last runs that a test fills."""

    schedules: dict[str, Schedule] = field(default_factory=dict)
    clock: HeldClock = field(default_factory=clock_at_noon)
    recorded: dict[str, datetime] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    refuse: bool = False

    def submit(self, name: str) -> None:
        if self.refuse:
            raise RuntimeError(f"no room for {name}")
        self.submitted.append(name)
        self.came.set()

    def timer(self, *, since: datetime | None = None, identity: str = "cache-a") -> Timer:
        return Timer(self.schedules, self.recorded.get, self.submit, self.clock, UTC, identity, since)

    def live(self, timer: Timer, length: timedelta) -> None:
        """Lets the time pass, and asks every minute."""
        end = self.clock.moment + length
        while self.clock.moment < end:
            self.clock.sleep(60)
            timer.ask()


def test_each_slot_of_a_day_is_submitted_once() -> None:
    machine = Machine({"quick": Schedule("0 */6 * * *"), "deep": Schedule("0 4 * * *"), "drill": Schedule("")})
    machine.live(machine.timer(), timedelta(days=1))
    assert machine.submitted == ["quick", "quick", "deep", "quick", "quick"]


def test_a_job_that_is_still_running_is_not_submitted_again() -> None:
    machine = Machine({"deep": Schedule("0 13 * * *")})
    machine.live(machine.timer(), timedelta(hours=3))  # nothing is recorded before the job has ended
    assert machine.submitted == ["deep"]


def test_runs_missed_while_the_machine_was_off_are_one_run_at_once() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")}, recorded={"deep": NOON - timedelta(days=9)})
    timer = machine.timer()
    timer.ask()
    timer.ask()
    assert machine.submitted == ["deep"]


def test_a_recorded_run_counts_after_a_restart() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")}, recorded={"deep": NOON.replace(hour=4, minute=3)})
    machine.timer(since=NOON - timedelta(days=30)).ask()
    assert machine.submitted == []


def test_a_job_that_never_ran_is_due_when_a_slot_has_passed_since_the_beginning() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")})
    machine.timer(since=NOON - timedelta(days=1)).ask()
    assert machine.submitted == ["deep"]


def test_without_a_beginning_only_slots_from_now_on_count() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")})
    machine.timer().ask()
    assert machine.submitted == []


def test_a_job_that_could_not_be_submitted_is_submitted_at_the_next_asking() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")}, recorded={"deep": NOON - timedelta(days=2)}, refuse=True)
    timer = machine.timer()
    with pytest.raises(RuntimeError):
        timer.ask()
    machine.refuse = False
    timer.ask()
    assert machine.submitted == ["deep"]


def test_a_clock_set_back_by_hours_runs_the_job_once_more_and_then_at_its_slots() -> None:
    machine = Machine({"deep": Schedule("0 13 * * *")})
    timer = machine.timer(since=NOON - timedelta(hours=20))
    machine.live(timer, timedelta(hours=2))
    assert machine.submitted == ["deep"]
    machine.recorded["deep"] = NOON + timedelta(hours=1)
    machine.clock.moment = NOON - timedelta(days=1)
    machine.live(timer, timedelta(minutes=30))
    assert machine.submitted == ["deep", "deep"]
    machine.live(timer, timedelta(hours=1))
    assert machine.submitted == ["deep", "deep", "deep"]


def test_next_runs_tells_what_is_due_next_with_the_cache_s_own_jitter() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *", jitter_s=3600), "drill": Schedule("")})
    first, second = (machine.timer(identity=identity).next_runs() for identity in ("cache-a", "cache-b"))
    assert first["drill"] is None
    slot = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
    for runs in (first, second):
        assert runs["deep"] is not None
        assert slot <= runs["deep"] < slot + timedelta(hours=1)
    assert first["deep"] != second["deep"]


def test_a_started_timer_asks_at_once_and_a_stopped_one_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    machine = Machine({"deep": Schedule("0 4 * * *")}, recorded={"deep": NOON - timedelta(days=2)})
    timer = machine.timer()
    timer.start()
    timer.start()
    assert machine.came.wait(30)
    timer.stop()
    timer.stop()
    assert set(threading.enumerate()) <= before
    assert machine.submitted == ["deep"]


def test_a_timer_may_be_stopped_right_after_its_start() -> None:
    before = set(threading.enumerate())
    timer = Machine({"deep": Schedule("* * * * *")}).timer()
    for _ in range(50):
        timer.start()
        timer.stop()
    assert set(threading.enumerate()) <= before


def test_a_timer_can_be_started_again() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")}, recorded={"deep": NOON - timedelta(days=2)})
    timer = machine.timer()
    timer.start()
    timer.stop()
    machine.clock.sleep(24 * 3600)
    machine.came.clear()
    timer.start()
    assert machine.came.wait(30)
    timer.stop()


def test_other_schedules_are_asked_for_at_once() -> None:
    machine = Machine({"deep": Schedule("0 4 * * *")})
    timer = machine.timer(since=NOON - timedelta(hours=1))
    timer.start()
    try:
        assert not machine.came.wait(0.2)
        timer.follow({"deep": Schedule("30 11 * * *")})
        assert machine.came.wait(5)
    finally:
        timer.stop()
    assert machine.submitted == ["deep"]

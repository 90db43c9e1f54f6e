"""The service: a cycle first, scheduled jobs after, and again while the data disk is missing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.clock import HeldClock
from tests.support.notify_socket import NotifySocket
from zimage_syncd.cli.progress import SilentProgress
from zimage_syncd.daemon.notify import ServiceManager
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.daemon.service import Duties, Service
from zimage_syncd.daemon.state import Change, LastRuns
from zimage_syncd.decide.due import Schedule
from zimage_syncd.model import problems
from zimage_syncd.model.failures import CacheBusy, ConfigInvalid, DataDiskMissing
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.model.verdict import CacheState, DataState, SystemState, Verdict


class Log:
    """A log that keeps its events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    warning = error = exception = info


class Never:
    def check(self) -> None:
        pass


class World:
    """Duties that count, and a disk that comes and goes."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.log = Log()
        self.data = DataState.HERE
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.findings: tuple[Finding, ...] = ()
        self.state = b"{}"
        self.address = ""
        self.refusal: Exception | None = None
        self.taken = False
        self.backs_up = False
        self.cache = ""
        self.proves = True

    def cycle(self, begun: Callable[[Verdict], None]) -> tuple[Verdict, Report]:
        self.calls.append("cycle")
        if isinstance(self.failure, MemoryError):
            raise self.failure
        verdict = Verdict(SystemState.SAME, frozenset({self.data}), CacheState.PRESENT, (), ())
        begun(verdict)
        return verdict, Report(Job.CYCLE, self.clock.now(), 0.0, findings=self.findings)

    def quick(self) -> Report:
        self.calls.append("quick")
        if self.failure is not None:
            raise self.failure
        return Report(Job.VERIFY, self.clock.now(), 0.0)

    def backup(self) -> Report:
        self.calls.append("backup")
        return Report(Job.BACKUP, self.clock.now(), 0.0, findings=self.findings)

    def prove(self) -> Report:
        self.calls.append("health")
        if self.failure is not None:
            raise self.failure
        return Report(Job.HEALTH, self.clock.now(), 0.0, findings=self.findings)

    def update(self, change: Change) -> None:
        self.state = change(self.read())

    def read(self) -> dict[str, object]:
        import json

        document = json.loads(self.state)
        assert isinstance(document, dict)
        return document

    def duties(self, quick: str) -> Duties:
        last_runs = LastRuns(self.read, self.update)
        jobs = {"quick": self.quick, **({"backup": self.backup} if self.backs_up else {})}
        if self.proves:
            jobs["health"] = self.prove
        return Duties(self.cycle, jobs, {"quick": Schedule(quick)}, last_runs, "cache-1", cache=self.cache)

    def claim(self) -> None:
        if self.taken:
            raise CacheBusy("/mnt/data/cache", "the daemon is process 5")

    def load(self) -> Duties:
        if self.refusal is not None:
            raise self.refusal
        return self.duties("* * * * *")

    def service(self, quick: str = "") -> Service:
        duties = self.duties(quick)
        pulse = Pulse(SilentProgress(), Never())
        manager = ServiceManager(self.address, 0.0, self.clock)
        return Service(duties, self.clock, UTC, pulse, self.log, manager, self.load, self.claim)


def run_until_idle(service: Service) -> None:
    """Runs what is queued, in this thread, and comes back."""

    def stop_when_all_has_begun() -> None:
        while service._runner._waiting:
            time.sleep(0.005)
        service.stop()  # what is under way is finished

    stopper = threading.Thread(target=stop_when_all_has_begun)
    stopper.start()
    service._runner.run()
    service._runner._stopped = False
    stopper.join()


def test_run_begins_with_a_cycle_and_ends_when_it_is_told_to() -> None:
    world = World()
    service = world.service()
    threading.Timer(0.5, service.stop).start()
    assert service.run() == 0
    assert world.calls == ["cycle"]
    assert world.log.events[0][0] == "started"
    assert world.log.events[-1][0] == "stopped"


def test_while_the_data_disk_is_missing_the_cycle_is_tried_again_every_minute() -> None:
    world = World()
    service = world.service()
    world.data = DataState.MISSING
    service._runner.submit("cycle")
    run_until_idle(service)
    for _ in range(2):
        world.clock.move(61)
        service._timer.ask()
        run_until_idle(service)
    assert world.calls == ["cycle"] * 3
    world.data = DataState.HERE
    world.clock.move(61)
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["cycle"] * 4
    world.clock.move(61)
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["cycle"] * 4


def test_a_blocked_start_makes_one_cycle_although_earlier_minutes_were_missed() -> None:
    world = World()
    world.state = b'{"first start": "2026-01-01T00:00:00+00:00"}'
    world.data = DataState.READ_ONLY
    service = world.service()
    service._runner.submit("cycle")
    run_until_idle(service)
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["cycle"]
    world.clock.move(61)
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["cycle"] * 2


def test_after_a_store_could_not_be_reached_the_cycle_is_tried_again_less_and_less_often() -> None:
    world = World()
    service = world.service()
    world.findings = (Finding(problems.STORE_UNREACHABLE, "bucket", "connection refused"),)
    service._runner.submit("cycle")
    run_until_idle(service)
    pauses_s, last_s = [], world.clock.monotonic_s()
    for _ in range(300):
        world.clock.move(20)
        service._timer.ask()
        if service._runner._waiting:
            run_until_idle(service)
            pauses_s.append(world.clock.monotonic_s() - last_s)
            last_s = world.clock.monotonic_s()
    assert len(pauses_s) > 8
    assert max(pauses_s[:2]) <= 80
    # It is asked once a minute, at another second each time: a pause is up to a minute longer than it has to be.
    assert all(later >= earlier - 60 for earlier, later in itertools.pairwise(pauses_s))
    assert 900 <= pauses_s[-1] <= 960
    world.findings = (Finding(problems.STORE_UNREACHABLE, "bucket", "connection refused", mended=True),)
    calls = len(world.calls)
    for _ in range(100):
        world.clock.move(20)
        service._timer.ask()
        if service._runner._waiting:
            run_until_idle(service)
    assert len(world.calls) == calls + 1


def minutes_of_attempts(world: World, service: Service, minutes: int) -> list[int]:
    """Lets time pass; returns after how many minutes something was done."""
    found = []
    for minute in range(1, minutes + 1):
        world.clock.move(60)
        service._timer.ask()
        if service._runner._waiting:
            run_until_idle(service)
            found.append(minute)
    return found


BUSY = (Finding(problems.GPU_BUSY, "a/b@main", "process 7 holds 20 GB"),)


def test_a_health_check_that_found_the_gpu_busy_is_tried_again_by_itself_and_the_cycle_is_not() -> None:
    world = World()
    service = world.service()
    world.findings = BUSY
    service._runner.submit("cycle")
    run_until_idle(service)
    attempts = minutes_of_attempts(world, service, 70)
    pauses = [later - earlier for earlier, later in itertools.pairwise([0, *attempts])]
    # It is asked once a minute, at another second each time.
    assert all(0 <= pause - wanted <= 2 for pause, wanted in zip(pauses, (1, 2, 4, 8, 15, 15, 15), strict=False))
    assert world.calls == ["cycle", *["health"] * len(attempts)]
    world.findings = ()
    minutes_of_attempts(world, service, 17)
    assert world.calls.count("health") == len(attempts) + 1
    assert minutes_of_attempts(world, service, 40) == []
    assert world.read().get("health queued") is None


def test_a_health_check_that_is_owed_outlives_the_daemon() -> None:
    world = World()
    world.findings = BUSY
    service = world.service()
    service._runner.submit("cycle")
    run_until_idle(service)
    world.findings = ()
    assert len(minutes_of_attempts(world, world.service(), 5)) == 1
    assert world.calls == ["cycle", "health"]
    assert minutes_of_attempts(world, world.service(), 5) == []


def test_a_health_check_that_fails_is_not_tried_every_minute() -> None:
    world = World()
    world.findings = BUSY
    service = world.service()
    service._runner.submit("cycle")
    run_until_idle(service)
    world.failure = DataDiskMissing("/mnt")
    assert 2 <= len(minutes_of_attempts(world, service, 20)) <= 5


def test_a_health_check_that_is_to_be_skipped_is_not_tried_again() -> None:
    world = World()
    world.findings, world.proves = BUSY, False
    service = world.service()
    service._runner.submit("cycle")
    run_until_idle(service)
    assert minutes_of_attempts(world, service, 20) == []


@pytest.mark.parametrize("problem", [problems.CACHE_BUSY, problems.STORE_MISSING, problems.STORE_DENIED])
def test_what_passes_by_itself_is_no_reason_to_leave_a_cache_empty(problem: problems.Problem) -> None:
    """A command that was at work, a share that was mounted late, a clock that was wrong at the start."""
    world = World()
    service = world.service()
    world.findings = (Finding(problem, "cache", "at the start"),)
    service._runner.submit("cycle")
    run_until_idle(service)
    world.findings = ()
    for _ in range(10):
        world.clock.move(20)
        service._timer.ask()
        run_until_idle(service)
    assert world.calls == ["cycle"] * 2


def test_a_backup_that_only_some_archives_took_is_made_again(tmp_path: Path) -> None:
    world = World()
    world.backs_up = True
    world.cache = str(tmp_path)
    world.findings = (Finding(problems.STORE_UNREACHABLE, "second", "connection refused"),)
    service = world.service()
    service._watching.start()
    try:
        for findings, looks in ((world.findings, 20), ((), 60)):
            world.findings = findings
            for _ in range(looks):
                world.clock.move(20)
                service._timer.ask()
                run_until_idle(service)
    finally:
        service._watching.stop()
    assert world.calls.count("backup") == 2


def test_a_job_that_a_reload_took_away_is_not_run_any_more() -> None:
    world = World()
    world.backs_up = True
    service = world.service()
    service._runner.submit("backup")
    world.backs_up = False
    reloading(world, service)
    run_until_idle(service)
    assert "backup" not in world.calls
    assert not any("not foreseen" in event for event, _ in world.log.events)


def test_a_job_that_was_put_off_did_not_run_and_one_that_failed_did() -> None:
    world = World()
    service = world.service("* * * * *")
    last_runs = LastRuns(world.read, world.update)
    world.failure = CacheBusy("lock", "held")
    service._runner.submit("quick")
    run_until_idle(service)
    assert last_runs.get("quick") is None
    world.failure = DataDiskMissing("/mnt")
    service._runner.submit("quick")
    run_until_idle(service)
    assert last_runs.get("quick") == world.clock.now()
    assert any(fields.get("code") == "ZS101" for _, fields in world.log.events)


def test_what_the_system_refused_is_done_again_when_its_time_has_come() -> None:
    world = World()
    service = world.service("* * * * *")
    world.failure = MemoryError()
    service._runner.submit("quick")
    service._runner.submit("cycle")
    run_until_idle(service)
    assert LastRuns(world.read, world.update).get("quick") == world.clock.now()
    assert [fields.get("code") for event, fields in world.log.events if event == "job failed"] == ["ZS904"] * 2
    world.failure = None
    world.clock.move(61)
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["quick", "cycle", "quick", "cycle"]


def test_an_error_that_nobody_foresaw_does_not_end_the_service() -> None:
    world = World()
    service = world.service()
    world.failure = RuntimeError("surprise")
    service._runner.submit("quick")
    service._runner.submit("cycle")
    run_until_idle(service)
    assert world.calls == ["quick", "cycle"]


def test_what_lies_in_the_state_file_is_not_trusted() -> None:
    for text in (b"{}", b'{"quick": 5}', b'{"quick": "yesterday"}', b'{"quick": "2026-01-01T00:00:00"}'):
        world = World()
        world.state = text
        assert LastRuns(world.read, world.update).get("quick") is None
    world.state = b'{"quick": "2026-01-01T00:00:00+00:00"}'
    assert LastRuns(world.read, world.update).get("quick") == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_queued_job_runs_at_once_although_it_has_no_schedule_and_only_once() -> None:
    world = World()
    runs = LastRuns(world.read, world.update)
    runs.queue("quick", world.clock.now(), ["one"])
    service = world.service()
    for _ in range(3):
        service._timer.ask()
        run_until_idle(service)
        world.clock.move(61)
    assert world.calls == ["quick"]
    assert runs.queued("quick") is None
    runs.queue("quick", world.clock.now(), ["one"])
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["quick"] * 2


def test_a_queued_job_that_failed_or_was_put_off_stays_queued_for_the_next_start() -> None:
    for failure in (CacheBusy("lock", "held"), DataDiskMissing("/mnt")):
        world = World()
        runs = LastRuns(world.read, world.update)
        runs.queue("quick", world.clock.now(), ["one"])
        world.failure = failure
        for _ in range(2):
            service = world.service()
            service._timer.ask()
            run_until_idle(service)
            world.clock.move(61)
            world.failure = None
        assert world.calls == ["quick"] * 2
        assert runs.queued("quick") is None


def test_what_is_queued_while_the_job_runs_is_not_forgotten() -> None:
    world = World()
    runs = LastRuns(world.read, world.update)
    began_at = world.clock.now()
    world.clock.move(5)
    runs.queue("quick", world.clock.now(), ["one"])
    runs.done("quick", began_at)
    assert runs.queued("quick") == world.clock.now()


def test_only_what_was_covered_is_done_and_the_rest_stays_queued() -> None:
    world = World()
    runs = LastRuns(world.read, world.update)
    asked_at = world.clock.now()
    runs.queue("deep", asked_at, ["one", "two"])
    runs.set("deep", asked_at)
    world.clock.move(5)
    runs.done("deep", world.clock.now(), ["two", "three"])
    assert world.read()["deep queued"] == {"one": asked_at.isoformat()}
    runs.done("deep", world.clock.now(), ["one"])
    assert runs.queued("deep") is None
    assert world.read() == {"deep": asked_at.isoformat()}


def reloading(world: World, service: Service) -> list[tuple[str, dict[str, object]]]:
    before = len(world.log.events)
    service.reload()
    service._reloader.start()
    end = time.monotonic() + 10
    while len(world.log.events) == before and time.monotonic() < end:
        time.sleep(0.002)  # one that is to end reads nothing any more
    service._reloader.stop()
    return world.log.events[before:]


def test_a_new_configuration_brings_its_schedules_and_keeps_what_waits() -> None:
    world = World()
    service = world.service()
    service._runner.submit("quick")
    assert [event for event, _ in reloading(world, service)] == ["configuration read anew"]
    run_until_idle(service)
    assert world.calls == ["quick", "cycle"]
    world.clock.move(61)
    service._timer.ask()
    run_until_idle(service)
    assert world.calls == ["quick", "cycle", "quick"]


def test_a_configuration_that_is_refused_or_cannot_be_read_changes_nothing() -> None:
    for refusal, event, code in (
        (ConfigInvalid("zimage-syncd.toml", "bad"), "configuration refused, the one before stays", "ZS003"),
        (FileNotFoundError("getcwd"), "configuration could not be read, the one before stays", None),
    ):
        world = World()
        service = world.service()
        world.refusal = refusal
        ((said, fields),) = reloading(world, service)
        assert (said, fields.get("code")) == (event, code)
        world.clock.move(61)
        service._timer.ask()
        run_until_idle(service)
        assert world.calls == []


def test_many_wishes_for_a_new_configuration_are_one_reading() -> None:
    world = World()
    service = world.service()
    for _ in range(5):
        service.reload()
    assert len(reloading(world, service)) == 1


def test_the_manager_hears_when_the_configuration_is_read_whatever_comes_of_it(tmp_path: Path) -> None:
    ear = NotifySocket(tmp_path / "notify")
    world = World()
    world.address = ear.address
    service = world.service()
    world.refusal = ConfigInvalid("zimage-syncd.toml", "bad")
    for refusal in (None, world.refusal):
        world.refusal = refusal
        reloading(world, service)
        assert str(ear.next(1)).startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert ear.next(1) == "READY=1"
    ear.close()


def test_a_cache_that_turns_out_to_be_another_daemon_s_is_left_to_it() -> None:
    world = World()
    service = world.service()
    world.taken = True  # as when a second daemon waited for the same disk
    service._runner.submit("cycle")
    run_until_idle(service)
    (put_off,) = [fields for event, fields in world.log.events if event == "job put off"]
    assert "process 5" in str(put_off["reason"])

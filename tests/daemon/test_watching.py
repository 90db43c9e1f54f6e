"""What the daemon notices between the clock's hours is handed to who does something about it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tests.support.clock import HeldClock
from zimage_syncd.daemon.duties import Duties
from zimage_syncd.daemon.state import LastRuns
from zimage_syncd.daemon.watching import Watching
from zimage_syncd.model.failures import DiskError
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.model.verdict import CacheState, DataState, SystemState, Verdict


class Log:
    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **_: object) -> None:
        self.events.append(event)

    warning = error = exception = info


def test_a_data_disk_that_another_host_took_over_is_looked_at_again() -> None:
    report = Report(Job.CYCLE, datetime.now(UTC), 0.0)
    verdict = Verdict(SystemState.SAME, frozenset({DataState.HERE}), CacheState.PRESENT, (), ())
    taken = [False]
    duties = Duties(
        lambda _: (verdict, report), {}, {}, LastRuns(lambda: None, lambda _: None), "c", is_taken=lambda: taken[0]
    )
    cycles: list[str] = []
    log = Log()
    watching = Watching(duties, lambda: cycles.append("cycle"), lambda: None, lambda *_: None, HeldClock(), log)
    taken[0] = True
    watching.ask()
    assert cycles == [], "it has not begun"
    watching.start()
    try:
        watching.ask()
        assert cycles == ["cycle"]
        assert log.events == ["the data disk was taken over by another host"]
        taken[0] = False
        watching.ask()
        assert cycles == ["cycle"]
    finally:
        watching.stop()


def test_a_disk_that_cannot_be_looked_at_is_told_once() -> None:
    """Its links are looked at every few seconds, and each look fails."""
    looks, told = [0], list[str]()

    def keep_links() -> tuple[list[str], list[Finding]]:
        looks[0] += 1
        raise DiskError("/mnt/data/cache", "Input/output error")

    report = Report(Job.CYCLE, datetime.now(UTC), 0.0)
    verdict = Verdict(SystemState.SAME, frozenset({DataState.HERE}), CacheState.PRESENT, (), ())
    runs = LastRuns(lambda: None, lambda _: None)
    duties = Duties(lambda _: (verdict, report), {}, {}, runs, "c", keep_links=keep_links)
    log = Log()
    watching = Watching(
        duties, lambda: None, lambda: None, lambda _, finding: told.append(finding.problem.code), HeldClock(), log
    )
    watching.start()
    try:
        for count in (1, 2, 3):
            while looks[0] < count:
                time.sleep(0.01)
            watching._links._wanted.set()
    finally:
        watching.stop()
    assert told == ["ZS110"]
    assert log.events == []

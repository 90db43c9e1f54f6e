"""In a cycle, the probe's process is started before the restore has ended, and is never left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clock import HeldClock
from tests.support.machine import Machine
from tests.support.site import StopAfter
from zimage_syncd.config.load import load_config
from zimage_syncd.duties import _duties_of
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.model.verdict import Verdict
from zimage_syncd.ports import Cancel
from zimage_syncd.services import CacheServices


class Log:
    """A monitor and a probe that note in one list what they are told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.stops = False

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        self.events.append(f"begin {task.partition(' ')[0]}")

    def advance(self, count_bytes: int) -> None:
        self.events.append("bytes")
        if self.stops and "prepare modelscope" in self.events:
            raise Stopped("test")

    def note(self, text: str) -> None:
        pass

    def finish(self) -> None:
        self.events.append("finish")

    def prepare(self, layout: str) -> None:
        self.events.append(f"prepare {layout}")

    def dismiss(self) -> None:
        self.events.append("dismiss")

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        self.events.append(f"run {request.layout}")
        return HealthResult(HealthOutcome.OK, HealthLevel.GENERATE)

    def of_the_probe(self) -> list[str]:
        return [event for event in self.events if event.partition(" ")[0] in {"prepare", "dismiss", "run"}]


class Hurrying(HeldClock):
    """A clock by which half a second passes from one look to the next."""

    def monotonic_s(self) -> float:
        self.move(0.5)
        return super().monotonic_s()


Cycle = Callable[..., tuple[Verdict, Report]]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def cycle(tmp_path: Path, log: Log) -> Cycle:
    """Runs one cycle on a cache that was backed up, and then lost."""
    machine = Machine(tmp_path)

    def services(health: str) -> CacheServices:
        machine.write_config(f"[health]\n{health}\n")
        config = load_config(str(machine.config), {}, str(tmp_path), str(tmp_path))
        made = CacheServices(config, log, StopAfter())
        made.probe = made._proving.probe = log
        made.workshop.clock = Hurrying()
        return made

    def run(health: str = "", *, break_store: bool = False) -> tuple[Verdict, Report]:
        machine.fill()
        services("").backup(Selection(), accept_changed=False)
        shutil.rmtree(machine.cache)
        if break_store:
            shutil.rmtree(machine.bucket / "blobs")
        log.events.clear()
        return _duties_of(services(health)).cycle(lambda _: None)

    return run


def test_the_probe_is_prepared_before_the_restore_has_ended(cycle: Cycle, log: Log) -> None:
    cycle()
    begun, prepared = log.events.index("begin restore"), log.events.index("prepare modelscope")
    ended = log.events.index("finish", begun)
    assert begun < prepared < ended
    assert log.events.index("bytes", prepared) < ended, "before the last bytes"
    # The newest is restored first; checks go by name. What is prepared is never more than one.
    assert log.of_the_probe() == ["prepare modelscope", "run huggingface", "run modelscope", "dismiss"]


@pytest.mark.parametrize("health", ["after = []", 'after = ["repair"]', 'level = "files"'])
def test_nothing_is_prepared_where_no_check_follows_that_needs_the_libraries(
    cycle: Cycle, log: Log, health: str
) -> None:
    cycle(health)
    assert "begin restore" in log.events
    assert not [event for event in log.events if event.startswith("prepare")]


@pytest.mark.parametrize("health", ['after = ["reset"]', 'after = ["restore"]'])
def test_a_check_after_resets_is_prepared_for_where_there_was_one(cycle: Cycle, log: Log, health: str) -> None:
    verdict, _ = cycle(health)
    follows = "restore" in health or str(verdict.system) in {"new", "rolled_back"}
    assert ("prepare modelscope" in log.events) == follows
    assert any(event.startswith("run") for event in log.events) == follows


def test_what_was_prepared_is_dismissed_at_once_where_nothing_came_back(cycle: Cycle, log: Log) -> None:
    cycle(break_store=True)
    assert log.of_the_probe() == ["prepare modelscope", "dismiss", "dismiss"]


def test_a_cycle_that_somebody_stops_leaves_nothing_prepared(cycle: Cycle, log: Log) -> None:
    log.stops = True
    with pytest.raises(Stopped):
        cycle()
    assert [event for event in log.of_the_probe() if event != "dismiss"] == ["prepare modelscope"]
    assert log.events[-1] == "dismiss"

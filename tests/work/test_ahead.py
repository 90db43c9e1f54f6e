"""When the probe's process is prepared: a few seconds before a restore ends, once, and for restores alone."""

from __future__ import annotations

import threading

import pytest

from tests.support.clock import HeldClock
from tests.support.site import QuietMonitor
from zimage_syncd.model.snapshot import LayoutName, RepoId, SnapshotKey
from zimage_syncd.work.ahead import LEAD_S, Ahead

MIB = 2**20
KEY = SnapshotKey(LayoutName.HUGGINGFACE, RepoId.parse("Tongyi-MAI/Z-Image-Turbo"), "0123456789abcdef")
TASK = f"restore {KEY} from bucket"


class Restore:
    """A restore whose bytes arrive at a rate that the test sets."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.below = QuietMonitor()
        self.prepared: list[tuple[str, float]] = []
        self.monitor = Ahead(self.below, self.clock, self._prepare)

    def _prepare(self, layout: str) -> None:
        self.prepared.append((layout, self.clock.elapsed_s))

    def begin(self, total_bytes: int, key: SnapshotKey = KEY) -> None:
        self.monitor.begin(f"restore {key} from bucket", total_bytes, restores=key)

    def run(self, seconds: float, rate_mib_per_s: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.move(0.1)
            self.monitor.advance(round(rate_mib_per_s * MIB / 10))


@pytest.fixture
def restore() -> Restore:
    return Restore()


def test_it_is_prepared_once_when_so_many_seconds_are_left(restore: Restore) -> None:
    restore.begin(100 * 10 * MIB)
    restore.run(100, 10)
    restore.monitor.finish()
    ((layout, at_s),) = restore.prepared
    assert layout == "huggingface"
    assert at_s == pytest.approx(100 - LEAD_S, abs=0.5)


def test_a_restore_shorter_than_that_prepares_it_as_soon_as_its_rate_is_known(restore: Restore) -> None:
    restore.begin(10 * 10 * MIB)
    restore.run(10, 10)
    ((_, at_s),) = restore.prepared
    assert at_s < 1


def test_one_that_is_over_before_that_prepares_it_at_its_end(restore: Restore) -> None:
    restore.begin(MIB)
    restore.monitor.advance(MIB)
    assert restore.prepared == []
    restore.monitor.finish()
    assert restore.prepared == [("huggingface", 0.0)]


def test_the_rate_is_that_of_the_last_seconds(restore: Restore) -> None:
    """Fast at first: at the rate since the beginning it would be prepared 49 s before the end."""
    restore.begin(130_000 * MIB)
    restore.run(100, 1_000)
    restore.run(300, 100)
    ((_, at_s),) = restore.prepared
    assert at_s == pytest.approx(400 - LEAD_S, abs=1)


def test_bytes_that_have_to_come_again_and_pauses_prepare_nothing(restore: Restore) -> None:
    restore.begin(1000 * MIB)
    restore.run(5, 10)
    restore.monitor.advance(-40 * MIB)
    restore.run(60, 0)
    assert restore.prepared == []


@pytest.mark.parametrize("task", ["verify", "examine", "mend", "back up", "take", "restore"])
def test_other_tasks_prepare_nothing(restore: Restore, task: str) -> None:
    restore.monitor.begin(f"{task} {KEY}", 100 * MIB)
    restore.run(10, 10)
    restore.monitor.finish()
    assert restore.prepared == []


def test_a_snapshot_that_lacks_nothing_prepares_nothing_and_the_next_one_does(restore: Restore) -> None:
    other = SnapshotKey(LayoutName.MODELSCOPE, KEY.repo, "master")
    restore.begin(0)
    restore.monitor.finish()
    restore.begin(100 * MIB, other)
    restore.run(10, 10)
    restore.monitor.finish()
    restore.begin(100 * MIB)
    restore.run(10, 10)
    assert [layout for layout, _ in restore.prepared] == ["modelscope"]


@pytest.mark.parametrize("layout", LayoutName)
def test_it_is_prepared_for_the_layout_of_what_is_restored(restore: Restore, layout: LayoutName) -> None:
    restore.begin(1, SnapshotKey(layout, KEY.repo, "master"))
    restore.monitor.finish()
    assert restore.prepared == [(str(layout), 0.0)]


def test_everything_is_passed_on(restore: Restore) -> None:
    restore.begin(100 * MIB)
    restore.run(1, 10)
    restore.monitor.note("a sentence")
    restore.monitor.finish()
    assert (restore.below.tasks, restore.below.notes, restore.below.bytes) == ([TASK], ["a sentence"], 10 * MIB)


def test_many_workers_prepare_one(restore: Restore) -> None:
    restore.begin(800 * MIB)
    restore.clock.move(1)
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(100):
            restore.monitor.advance(MIB)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(restore.prepared) <= 1
    restore.monitor.finish()
    assert len(restore.prepared) == 1
    assert restore.below.bytes == 800 * MIB

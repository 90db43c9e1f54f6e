"""The token bucket: holds its rate over a run, makes up for little, ends a wait when somebody asks to stop."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.caches import COMMIT, hf_snapshot
from tests.support.clock import HeldClock
from tests.support.site import Bench, QuietMonitor, StopAfter
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.config.load import load_config
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.wiring import Workshop
from zimage_syncd.work.backup import backup
from zimage_syncd.work.rate import TokenBucket, Unlimited
from zimage_syncd.work.site import Site
from zimage_syncd.work.verify import verify
from zimage_syncd.work.verify_store import verify_store

RATE = 10_000_000
PIECE = 100_000
ALL = Selection()


class Sleepers(HeldClock):
    """A held clock of several threads: time moves when all of them sleep, to the moment when the first wakes up."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._awake = threads
        self._wakes: list[float] = []
        self._changed = threading.Condition()

    def sleep(self, seconds: float) -> None:
        with self._changed:
            wake_s = self.elapsed_s + seconds
            self._wakes.append(wake_s)
            self._go_to_sleep()
            self._changed.wait_for(lambda: self.elapsed_s >= wake_s)
            self._wakes.remove(wake_s)

    def leave(self) -> None:
        """A thread has ended."""
        with self._changed:
            self._go_to_sleep()

    def _go_to_sleep(self) -> None:
        self._awake -= 1
        if self._awake == 0 and self._wakes:
            self.elapsed_s = min(self._wakes)
            self._awake = sum(wake_s <= self.elapsed_s for wake_s in self._wakes)
            self._changed.notify_all()


class Counting:
    """A `Rate` that counts."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def take(self, count_bytes: int) -> None:
        with self._lock:
            self.bytes += count_bytes


def bucket(clock: HeldClock, looks: int | None = None) -> TokenBucket:
    return TokenBucket(RATE, clock, StopAfter(looks))


def moved_at(clock: HeldClock, act: Callable[[], None], times: int) -> list[float]:
    moments = []
    for _ in range(times):
        act()
        moments.append(clock.elapsed_s)
    return moments


def most_in_a_second(moments: list[float]) -> int:
    """The most bytes that moved in any second."""
    return max(sum(begin <= moment < begin + 1 for moment in moments) for begin in moments) * PIECE


def test_a_run_holds_the_rate() -> None:
    clock = HeldClock()
    rate = bucket(clock)
    moments = moved_at(clock, lambda: rate.take(PIECE), 1000)
    assert 1000 * PIECE / moments[-1] == pytest.approx(RATE, rel=0.05)
    assert most_in_a_second(moments) <= RATE * 1.05


def test_pieces_larger_than_a_second_s_worth_hold_it_too() -> None:
    clock = HeldClock()
    rate = bucket(clock)
    for _ in range(40):
        rate.take(3 * RATE)
    rate.take(1)
    assert clock.elapsed_s == pytest.approx(120, rel=0.05)


def test_slow_work_is_not_slowed_down() -> None:
    clock = HeldClock()
    rate = bucket(clock)
    for _ in range(100):
        rate.take(PIECE)
        clock.move(2 * PIECE / RATE)
    assert not clock.slept_s


def test_late_awakenings_do_not_lower_the_rate() -> None:
    class Late(HeldClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds + 0.02)

    clock = Late()
    rate = bucket(clock)
    moments = moved_at(clock, lambda: rate.take(PIECE), 1000)
    assert 1000 * PIECE / moments[-1] == pytest.approx(RATE, rel=0.05)


def test_idle_time_is_not_made_up_for_in_a_burst() -> None:
    clock = HeldClock()
    rate = bucket(clock)
    rate.take(PIECE)
    clock.move(3600)
    moments = moved_at(clock, lambda: rate.take(PIECE), 500)
    assert most_in_a_second(moments) <= RATE * 1.15
    assert sum(moment == moments[0] for moment in moments) * PIECE <= RATE * 0.15


def test_whoever_waits_hears_that_somebody_wants_to_stop() -> None:
    clock = HeldClock()
    rate = bucket(clock, looks=3)
    rate.take(100 * RATE)
    with pytest.raises(Stopped):
        rate.take(PIECE)
    assert clock.elapsed_s <= 0.5


def test_several_threads_hold_the_rate_together() -> None:
    clock = Sleepers(4)
    rate = bucket(clock)
    moments: list[float] = []

    def work() -> None:
        for _ in range(250):
            rate.take(PIECE)
            moments.append(clock.elapsed_s)
        clock.leave()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(moments) == 1000
    assert 1000 * PIECE / clock.elapsed_s == pytest.approx(RATE, rel=0.05)
    assert most_in_a_second(sorted(moments)) <= RATE * 1.15


@pytest.fixture
def archive(bench: Bench) -> ObjectArchive:
    place = bench.directory / "bucket"
    place.mkdir()
    return ObjectArchive("bucket", DirectoryStore(str(place), "o"), bench.clock, "o", bench.site().owns, "host")


@pytest.fixture
def size_bytes(bench: Bench, content: random.Random) -> int:
    """Of the payload of a snapshot in the cache: a few small files, and one that is uploaded in parts."""
    files = {**pipeline_files(), "big/model.safetensors": safetensors_bytes({"x": content.randbytes(20_000_000)})}
    repository = hf_snapshot(bench.root, files)
    assert (repository / "snapshots" / COMMIT).is_dir()
    return sum(place.stat().st_size for place in (repository / "blobs").iterdir())


def test_uploads_ask_for_every_byte_once(bench: Bench, archive: ObjectArchive, size_bytes: int) -> None:
    counting = Counting()
    site: Site = dataclasses.replace(bench.site(), upload_rate=counting)
    assert backup(site, [archive], ALL, accept_changed=False).exit_code == 0
    assert counting.bytes == size_bytes
    assert backup(site, [archive], ALL, accept_changed=False).exit_code == 0
    assert counting.bytes == size_bytes


def test_deep_verifications_ask_for_every_byte_and_quick_ones_for_none(
    bench: Bench, archive: ObjectArchive, size_bytes: int
) -> None:
    counting = Counting()
    site = dataclasses.replace(bench.site(), verify_rate=counting)
    verify(site, [], ALL, deep=True, repair=False)  # nobody recorded it yet
    unrecorded = counting.bytes
    assert 20_000_000 < unrecorded <= size_bytes
    backup(site, [archive], ALL, accept_changed=False)
    verify(site, [], ALL, deep=False, repair=False)
    assert counting.bytes == unrecorded
    verify(site, [], ALL, deep=True, repair=False)
    assert counting.bytes == unrecorded + size_bytes
    sizes = {blob.sha256: blob.size_bytes for blob in archive.blobs()}
    verify_store(site, archive, ALL, blob_sizes=sizes, deep=True)
    assert counting.bytes == unrecorded + 2 * size_bytes


def test_rates_come_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    place = tmp_path / "zimage.toml"
    place.write_text(
        f'[cache]\ndir = "{tmp_path}/cache"\n[backup]\nupload_rate = "1MB/s"\n'
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n'
    )
    config = load_config(str(place), {}, str(tmp_path), str(tmp_path))
    with Workshop(config, QuietMonitor(), StopAfter()).looking() as site:
        assert isinstance(site.upload_rate, TokenBucket)
        assert isinstance(site.verify_rate, Unlimited)

"""Lost links are noticed at once, whatever happened to their directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zimage_syncd.daemon import watch as watching
from zimage_syncd.daemon.watch import Watch

SOON_S = 8
"""Less than what the clock needs to look by itself, with patience for a busy machine."""
assert SOON_S < watching._LOOK_EVERY_S


class Log:
    """A log that keeps its warnings."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    warning = error = exception = info


class Keeper:
    """Links that are made again, and looks that are counted."""

    def __init__(self, root: Path) -> None:
        self.target = root / "cache"
        self.target.mkdir()
        self.link = root / "home/workspace/model_cache"
        self.looks = 0
        self.mounts = 0
        self.log = Log()
        self.failure: Exception | None = None

    def keep(self) -> None:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        if not os.path.lexists(self.link):
            self.link.parent.mkdir(parents=True, exist_ok=True)
            self.link.symlink_to(self.target)

    def mounted(self) -> None:
        self.mounts += 1


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path)
    watch = Watch([str(keeper.link)], keeper.keep, keeper.mounted, keeper.log)
    watch.start()
    wait_until(keeper.link.is_symlink)
    yield keeper
    watch.stop()


def wait_until(so: Callable[[], bool]) -> float:
    """How many seconds it took until something was so."""
    began_s = time.monotonic()
    while not so():
        assert time.monotonic() - began_s < SOON_S
        time.sleep(0.005)
    return time.monotonic() - began_s


def steady_threads() -> int:
    """How many there are, once that has not changed for half a second: on a busy machine a watch begins late."""
    count, since_s = threading.active_count(), time.monotonic()
    while time.monotonic() - since_s < 0.5:
        time.sleep(0.01)
        if threading.active_count() != count:
            count, since_s = threading.active_count(), time.monotonic()
    return count


def test_a_link_is_back_however_it_was_lost(keeper: Keeper) -> None:
    workspace, home = keeper.link.parent, keeper.link.parent.parent

    def replace_parent() -> None:
        workspace.rename(home / "old")
        workspace.mkdir()

    losses: list[Callable[[], object]] = [
        keeper.link.unlink,
        lambda: keeper.link.rename(workspace / "moved"),
        lambda: shutil.rmtree(workspace),
        lambda: shutil.rmtree(home),
        replace_parent,
        lambda: home.rename(home.parent / "gone"),
        keeper.link.unlink,
    ]
    for lose in losses:
        lose()
        wait_until(keeper.link.is_symlink)
        wait_until(lambda: keeper.link.resolve() == keeper.target)


def test_many_losses_in_a_row_leave_no_thread_and_no_descriptor(keeper: Keeper) -> None:
    def lose() -> None:
        shutil.rmtree(keeper.link.parent)
        wait_until(keeper.link.is_symlink)

    lose()
    threads, descriptors = steady_threads(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        lose()
    wait_until(lambda: threading.active_count() <= threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_what_happens_beside_a_link_asks_for_nothing(keeper: Keeper) -> None:
    time.sleep(0.3)
    looks = keeper.looks
    for number in range(200):
        (keeper.link.parent / f"{number}").write_text("x")
        (keeper.target / f"{number}").write_text("x")
    time.sleep(0.3)
    assert keeper.looks == looks


def test_a_storm_of_events_is_few_looks(keeper: Keeper) -> None:
    time.sleep(0.3)
    looks, began_s = keeper.looks, time.monotonic()
    while time.monotonic() - began_s < 1:
        keeper.link.unlink(missing_ok=True)
    assert keeper.looks - looks < 40
    wait_until(keeper.link.is_symlink)


def test_a_look_that_fails_is_repeated(keeper: Keeper) -> None:
    keeper.failure = OSError("no")
    keeper.link.unlink()
    wait_until(lambda: any("could not be looked at" in event for event, _ in keeper.log.lines))
    keeper.failure = None
    (keeper.link.parent / "model_cache").write_text("x")
    keeper.link.unlink()
    wait_until(keeper.link.is_symlink)


def test_a_watch_that_was_stopped_leaves_nothing(tmp_path: Path) -> None:
    def watched(number: int) -> None:
        (tmp_path / str(number)).mkdir()
        keeper = Keeper(tmp_path / str(number))
        watch = Watch([str(keeper.link)], keeper.keep, keeper.mounted, keeper.log)
        watch.start()
        wait_until(keeper.link.is_symlink)
        watch.stop()

    watched(0)  # the first one starts watchdog's reader of inotify, which all watches of the process share
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for number in range(1, 6):
        watched(number)
    wait_until(lambda: threading.active_count() <= threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_directories_that_cannot_be_watched_are_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(tmp_path)
    watch = Watch([str(keeper.link)], keeper.keep, keeper.mounted, keeper.log)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watching, "_LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(watch._observer, "schedule", refuse)
    watch.start()
    wait_until(keeper.link.is_symlink)
    keeper.link.unlink()
    wait_until(keeper.link.is_symlink)  # the clock looks
    watch.stop()
    named = [str(fields["path"]) for event, fields in keeper.log.lines if event == "a directory cannot be watched"]
    assert len(named) == len(set(named)) > 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mount_is_noticed(keeper: Keeper, tmp_path: Path) -> None:
    place = tmp_path / "mount"
    place.mkdir()
    before = keeper.mounts
    if subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=False).returncode:
        pytest.skip("mounts are not possible here")
    try:
        wait_until(lambda: keeper.mounts > before)
    finally:
        subprocess.run(["umount", str(place)], check=True)

"""Changes of names are found without any event, and without looking at files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_syncd.daemon.tree_times import TreeTimes
from zimage_syncd.daemon.tree_watch import TreeWatch


class Log:
    def info(self, event: str, **_: object) -> None:
        pass

    warning = error = exception = info


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    for number in range(3):
        directory = cache / f"hub/models--a--{number}/blobs"
        directory.mkdir(parents=True)
        (directory / "x").write_bytes(b"x")
    (cache / ".state").mkdir()
    return cache


def times_of(cache: Path) -> TreeTimes:
    times = TreeTimes(str(cache), str(cache / ".state"))
    assert times.has_changed(), "what happened before is a change, too"
    assert not times.has_changed()
    return times


@pytest.mark.parametrize(
    "act",
    [
        lambda cache: (cache / "hub/models--a--1/blobs/new").write_bytes(b""),
        lambda cache: (cache / "hub/models--a--1/blobs/x").unlink(),
        lambda cache: (cache / "hub/models--a--1/blobs/x").rename(cache / "hub/models--a--1/blobs/y"),
        lambda cache: (cache / "hub/models--a--1/snapshots").mkdir(),
        lambda cache: (cache / "hub/models--a--1/blobs/link").symlink_to("x"),
        lambda cache: shutil.rmtree(cache / "hub/models--a--1"),
        lambda cache: (cache / "hub").rename(cache / "bub"),
        shutil.rmtree,
    ],
)
def test_each_change_of_a_name_is_one_change(cache: Path, act: Callable[[Path], object]) -> None:
    times = times_of(cache)
    time.sleep(0.02)  # a tick of the file system's clock
    act(cache)
    assert times.has_changed()
    assert not times.has_changed()


def test_a_directory_that_came_later_is_looked_at_from_then_on(cache: Path) -> None:
    times = times_of(cache)
    deep = cache / "models/a/b/c"
    deep.mkdir(parents=True)
    assert times.has_changed()
    time.sleep(0.02)
    (deep / "file").write_bytes(b"")
    assert times.has_changed()


def test_content_and_the_programs_own_state_are_none(cache: Path) -> None:
    times = times_of(cache)
    (cache / "hub/models--a--1/blobs/x").write_bytes(b"more")
    (cache / ".state/ledger").write_bytes(b"x")
    os.utime(cache / "hub/models--a--1/blobs/x")
    assert not times.has_changed()


def test_no_link_is_followed_and_what_is_missing_is_no_failure(cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (cache / "hub/link").symlink_to(outside)
    times = times_of(cache)
    (outside / "new").mkdir()
    assert not times.has_changed()
    assert not TreeTimes(str(tmp_path / "nowhere"), "").has_changed()


def test_nothing_is_listed_that_has_not_changed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = times_of(cache)
    listed: list[str] = []
    scandir = os.scandir

    def counted(place: str) -> os._ScandirIterator[str]:
        listed.append(place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", counted)
    assert not times.has_changed()
    assert listed == []
    time.sleep(0.02)
    (cache / "hub/models--a--2/blobs/new").write_bytes(b"")
    assert times.has_changed()
    assert listed == [str(cache / "hub/models--a--2/blobs")]


def test_a_watch_on_a_shared_directory_finds_what_no_event_told(cache: Path) -> None:
    """Another host's change makes no event; here inotify is not asked at all, since its directory is ended."""
    changes: list[int] = []
    watch = TreeWatch(str(cache), str(cache / ".state"), lambda: changes.append(1), Log(), lambda: True)
    watch.ensure()
    assert len(changes) == 1
    assert watch._observer is not None
    watch._observer.unschedule_all()
    time.sleep(0.1)
    watch.ensure()
    assert len(changes) == 1
    (cache / "hub/models--a--0/blobs/of-another-host").write_bytes(b"")
    time.sleep(0.1)
    assert len(changes) == 1
    watch.ensure()
    assert len(changes) == 2
    watch.stop()

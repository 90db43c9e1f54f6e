"""Changes of names anywhere in the cache are noticed, whatever becomes of its directory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zimage_syncd.daemon.tree_watch import TreeWatch


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **_: object) -> None:
        self.lines.append(event)

    warning = error = exception = info


class World:
    def __init__(self, root: Path) -> None:
        self.cache = root / "cache"
        self.cache.mkdir()
        self.changes = 0
        self.log = Log()
        self.watch = TreeWatch(str(self.cache), str(self.cache / ".state"), self.changed, self.log)

    def changed(self) -> None:
        self.changes += 1

    def notices(self, act: Callable[[], object]) -> bool:
        time.sleep(0.2)
        before = self.changes
        act()
        for _ in range(300):
            if self.changes > before:
                return True
            time.sleep(0.01)
        return False


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.watch.ensure()
    yield world
    world.watch.stop()


def test_new_files_new_directories_and_final_names_are_changes(world: World) -> None:
    deep = world.cache / "hub/models--a--b/blobs"
    assert world.changes == 1, "what happened before is one, too"
    assert world.notices(lambda: deep.mkdir(parents=True))
    assert world.notices(lambda: (deep / "x.incomplete").write_bytes(b"x"))
    assert world.notices(lambda: (deep / "x.incomplete").rename(deep / "x"))
    assert world.notices(lambda: shutil.rmtree(world.cache / "hub"))


def test_content_and_the_programs_own_state_are_none(world: World) -> None:
    (world.cache / ".state").mkdir()
    (world.cache / "file").write_bytes(b"")
    time.sleep(0.3)
    before = world.changes
    with (world.cache / "file").open("ab") as file:
        for _ in range(1000):
            file.write(b"x" * 1000)
            file.flush()
    (world.cache / ".state/ledger").write_bytes(b"x")
    time.sleep(0.5)
    assert world.changes == before


def test_a_directory_that_is_replaced_or_comes_late_is_watched(world: World) -> None:
    shutil.rmtree(world.cache)
    time.sleep(0.2)
    assert world.notices(world.watch.ensure)
    world.cache.mkdir()
    assert world.notices(world.watch.ensure)
    assert world.notices(lambda: (world.cache / "new").write_bytes(b"x"))
    assert not world.notices(world.watch.ensure), "nothing has happened"

"""Directories that are taken in, and the cache itself reached by a second way: nothing of it may be lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.machine import Machine
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.disk.old_directory import OldDirectory
from zimage_syncd.model.failures import LinkOccupied
from zimage_syncd.work.take_in import TakeIn, TakenIn

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]


@contextlib.contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """As mount(8) is told; the last argument is where. It is found again where its directory was renamed."""
    subprocess.run(["mount", *map(str, arguments)], check=True)
    parent, name = Path(arguments[-1]).parent, Path(arguments[-1]).name
    try:
        yield
    finally:
        places = [parent / name, Path(f"{parent}.kept") / name, Path(f"{parent}.taking-in") / name]
        done = [subprocess.run(["umount", place], check=False, capture_output=True).returncode for place in places]
        assert 0 in done


def take_in(bench: Bench, place: Path) -> TakenIn:
    return TakeIn(bench.site(), OldDirectory(str(place), str(bench.root)), lambda _directory: False).run()


def test_a_part_of_the_cache_that_is_mounted_below_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "old"
    (place / "hub").mkdir(parents=True)
    (place / "own").write_text("x")
    hf_snapshot(bench.root, pipeline_files())
    (bench.root / "hub/empty").mkdir()
    before = listing(bench.root)
    with mounted("--bind", bench.root / "hub", place / "hub"):
        done = take_in(bench, place)
        assert listing(bench.root).items() >= before.items()
        assert (bench.root / "hub/empty").is_dir()
        assert (bench.root / "own").read_text() == "x"
        assert [finding.detail for finding in done.findings] == ["hub: it is a mounted file system"]


def test_a_file_of_the_cache_that_is_mounted_below_is_not_removed(bench: Bench, tmp_path: Path) -> None:
    place = tmp_path / "old"
    place.mkdir()
    for name in (place / "token", bench.root / "token"):
        name.write_text("precious")
    with mounted("--bind", bench.root / "token", place / "token"):
        done = take_in(bench, place)
        assert (bench.root / "token").read_text() == "precious"
        assert "the cache's own file" in done.findings[0].detail


def test_a_directory_of_the_same_file_system_that_is_a_mount_point_is_not_replaced(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share/theirs").write_text("x")
    place = tmp_path / "old"
    place.mkdir()
    with mounted("--bind", tmp_path / "share", place):
        with pytest.raises(LinkOccupied, match="mounted"):
            take_in(bench, place)
        assert (place / "theirs").read_text() == "x"


@pytest.mark.parametrize("where", ["the link", "a named directory", "a link with an empty cache"])
def test_the_cache_by_another_mount_is_the_cache(tmp_path: Path, where: str) -> None:
    machine = Machine(tmp_path)
    data, again = tmp_path / "data", tmp_path / "system/workspace"
    for directory in (data, again):
        directory.mkdir(parents=True)
    with mounted("-t", "tmpfs", "data", data), mounted("--bind", data, again):
        machine.cache.mkdir()
        if where != "a link with an empty cache":
            machine.fill()
        link = again / "cache" if where != "a named directory" else tmp_path / "elsewhere"
        machine.write_config(cache=f'mount = "{data}"')
        machine.config.write_text(machine.config.read_text().replace(str(machine.link), str(link)))
        before = listing(machine.cache)
        told = machine.run("adopt", *([str(again / "cache")] if where == "a named directory" else []))
        assert "nothing to adopt" in told.stdout
        assert not machine.cache.is_symlink()
        assert listing(machine.cache) == before
        assert os.listdir(again) == os.listdir(data)
        assert not any("taking-in" in name for name in os.listdir(data))
        assert link.resolve().samefile(machine.cache)
        assert machine.run("adopt", str(again), expected=None).returncode in {0, 3}
        assert listing(machine.cache) == before


def test_a_directory_that_holds_the_cache_by_another_mount_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    data, again = tmp_path / "disk/data", tmp_path / "again"
    for directory in (data, again):
        directory.mkdir(parents=True)
    machine.fill()
    machine.write_config()
    with mounted("--bind", tmp_path, again):
        before = listing(machine.cache)
        told = machine.run("adopt", str(again / "data/cache/hub"), expected=3)
        assert "lie in each other" in told.stderr
        told = machine.run("adopt", str(again / "data"), expected=3)
        assert "lie in each other" in told.stderr
        assert listing(machine.cache).items() >= before.items()


def test_the_cache_by_another_file_system_is_not_taken_into_itself(tmp_path: Path) -> None:
    """A pool of disks shows the directory of one of them, with another device and its own inodes."""
    machine = Machine(tmp_path)
    pool, disk = tmp_path / "data", tmp_path / "disks"
    pool.mkdir()
    disk.mkdir()
    with mounted("-t", "tmpfs", "disks", disk):
        for name in ("lower", "upper", "work"):
            (disk / name).mkdir()
        layers = f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work"
        with mounted("-t", "overlay", "pool", "-o", layers, pool):
            machine.fill()
            machine.write_config(cache=f'mount = "{pool}"')
            before = listing(machine.cache)
            told = machine.run("adopt", str(disk / "upper/cache"), expected=None)
            assert "are one directory, by two file systems" in told.stdout + told.stderr
            assert listing(machine.cache) == before
            assert [name for name in os.listdir(machine.cache) if "partial" in name] == []

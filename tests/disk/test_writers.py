"""Who writes in a directory is seen; who reads, or writes elsewhere, is nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zimage_syncd.disk.writers import is_written_below


@contextmanager
def opened(place: Path, mode: str) -> Iterator[None]:
    """Another process that has a file open."""
    code = "import sys; f = open(sys.argv[1], sys.argv[2]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(place), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield
        process.communicate()


@pytest.mark.parametrize(("mode", "seen"), [("wb", True), ("ab", True), ("r+b", True), ("rb", False)])
def test_a_writer_is_seen(tmp_path: Path, mode: str, seen: bool) -> None:
    place = tmp_path / "cache/hub/x.incomplete"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    assert not is_written_below(str(tmp_path / "cache"))
    with opened(place, mode):
        assert is_written_below(str(tmp_path / "cache")) is seen
        assert not is_written_below(str(tmp_path / "cache/hub/x"))
    assert not is_written_below(str(tmp_path / "cache"))


def test_what_is_beside_does_not_count(tmp_path: Path) -> None:
    for name in ("cache/.state", "cached"):
        (tmp_path / name).mkdir(parents=True)
        with opened(tmp_path / name / "file", "wb"):
            assert not is_written_below(str(tmp_path / "cache"), str(tmp_path / "cache/.state"))


def test_a_cache_behind_a_link_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "cache").symlink_to("data")
    with opened(tmp_path / "data/file", "wb"):
        assert is_written_below(str(tmp_path / "cache"))

"""Who writes in a directory is seen; who reads, or writes elsewhere, is nobody."""

from __future__ import annotations

import os
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


def test_a_process_that_may_not_be_looked_at_is_seen(tmp_path: Path) -> None:
    """As a hardened daemon is not shown what a root shell has open: here, nobody's processes are shown at all."""
    place = tmp_path / "cache/hub/x.incomplete"
    place.parent.mkdir(parents=True)
    code = """
import os, sys
from zimage_syncd.disk.writers import is_written_below
assert not [name for name in os.listdir("/proc") if name.isdigit()]
print(is_written_below(sys.argv[1]))
"""
    hidden = f"mount -t tmpfs none /proc && exec {sys.executable} -c '{code}' {tmp_path}/cache"
    command = ["unshare", "--mount", "sh", "-c", hidden]

    def answer() -> str:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if "unshare failed" in finished.stderr or "permission denied" in finished.stderr:
            pytest.skip(f"mount namespaces are not possible here: {finished.stderr}")
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.strip()

    place.write_bytes(b"x")
    assert answer() == "False"
    with opened(place, "r+b"):
        assert answer() == "True"


def test_who_writes_while_the_kernel_is_asked_is_not_held_up_and_kills_nobody(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}").write_bytes(b"x")
    code = """
import pathlib, sys, time
end = time.monotonic() + 2
slowest = 0
while time.monotonic() < end:
    for place in pathlib.Path(sys.argv[1]).iterdir():
        began = time.monotonic()
        with place.open("r+b"):
            slowest = max(slowest, time.monotonic() - began)
print(slowest)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        answers = set()
        while process.poll() is None:
            answers.add(is_written_below(str(tmp_path)))
        assert process.stdout is not None
        assert float(process.stdout.read()) < 1.5, "a lease that is not given back holds a writer for 45 s"
    assert answers
    assert not is_written_below(str(tmp_path))


def test_own_partial_files_do_not_count(tmp_path: Path) -> None:
    with opened(tmp_path / ".zimage-syncd-0123.partial", "wb"):
        assert not is_written_below(str(tmp_path))

"""The lease between real processes with names and process ids of their own, on one directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.shared_disk import AS_ANOTHER_HOST, child_of, hosts_are_possible, lease_on, wait_until
from zimage_syncd.clock import SystemClock
from zimage_syncd.disk.shared_lease import SharedLease
from zimage_syncd.model.failures import DataDiskInUse, DataDiskTaken, Stopped

ROOT = Path(__file__).parents[2]
PATIENT_S = 30.0
"""An expiry that no busy machine reaches by accident."""

needs_hosts = pytest.mark.skipif(not hosts_are_possible(), reason="name spaces are not possible here")

HOLD = """
import socket, sys
from tests.support.shared_disk import lease_on
from zimage_syncd.model.failures import Failure
socket.sethostname(sys.argv[2])
lease = lease_on(sys.argv[1], float(sys.argv[3]))
with lease.held("backup"):
    print("held", flush=True)
    sys.stdin.readline()
    try:
        lease.confirm()
        print("published", flush=True)
    except Failure as failure:
        print(failure.problem.code, failure, flush=True)
"""

RACE = """
import os, socket, sys, time
from tests.support.shared_disk import lease_on
from zimage_syncd.model.failures import DataDiskInUse
directory, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
socket.sethostname(name)
lease = lease_on(directory, 30.0)
while rounds:
    try:
        with lease.held("race"):
            os.close(os.open(f"{directory}/inside", os.O_CREAT | os.O_EXCL))  # fails where somebody else is
            count = int(open(f"{directory}/count").read())
            time.sleep(0.001)
            open(f"{directory}/count", "w").write(str(count + 1))
            lease.confirm()
            os.unlink(f"{directory}/inside")
        rounds -= 1
    except DataDiskInUse:
        time.sleep(0.001)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Runs a program as another host."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(program: str, *arguments: str, before: tuple[str, ...] = AS_ANOTHER_HOST) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", program, str(tmp_path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode()


def names(tmp_path: Path) -> set[str]:
    return set(os.listdir(tmp_path / ".zimage-syncd/lease"))


def test_on_a_disk_of_this_host_nothing_is_written_and_no_thread_begins(tmp_path: Path) -> None:
    lease = SharedLease(str(tmp_path), str(tmp_path / ".zimage-syncd/lease"), SystemClock())
    before = threading.active_count()
    with lease.held("backup"):
        lease.check()
        lease.confirm()
        assert lease.rival() is None
        assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_another_hosts_disk_is_not_in_use(tmp_path: Path) -> None:
    """Its files lie on a block device of this host: only a file system that others reach has a lease."""
    place = tmp_path / ".zimage-syncd/lease"
    place.mkdir(parents=True)
    (place / "lease.3").write_text("{}")
    lease = SharedLease(str(tmp_path), str(place), SystemClock())
    assert lease.rival() is None
    with lease.held("backup"):
        assert names(tmp_path) == {"lease.3"}


def test_it_beats_while_it_is_held_and_leaves_two_files(tmp_path: Path) -> None:
    lease = lease_on(str(tmp_path), 0.5)
    with lease.held("backup"):
        wait_until(lambda: "lease.1.5" in names(tmp_path))
        assert len(names(tmp_path)) <= 5
        assert any(thread.name == "lease" for thread in threading.enumerate())
    assert names(tmp_path) == {"lease.1", "lease.1.done"}
    assert not any(thread.name == "lease" for thread in threading.enumerate())


def test_the_daemon_holds_it_from_its_first_job_on(tmp_path: Path) -> None:
    lease = lease_on(str(tmp_path), PATIENT_S)
    lease.reside()
    for _ in range(2):
        with lease.held("backup"):
            pass
    assert "lease.1.done" not in names(tmp_path)
    assert b'"run"' in (tmp_path / ".zimage-syncd/lease/lease.1").read_bytes()
    lease.release()
    assert "lease.1.done" in names(tmp_path)


@needs_hosts
def test_hosts_that_race_for_it_have_it_one_after_the_other(tmp_path: Path, start: Start) -> None:
    (tmp_path / "count").write_text("0")
    racers = [start(RACE, name, "6") for name in ("gpu-1", "gpu-2", "gpu-3")]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "18"
    assert names(tmp_path) == {"lease.18", "lease.18.done"}


@needs_hosts
def test_a_host_that_lives_is_refused_as_soon_as_it_was_seen_to_beat(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "gpu-1", "4")
    assert said(holder) == "held\n"
    lease = lease_on(str(tmp_path), PATIENT_S)
    told: list[str] = []
    lease.watch(lambda: None, told.append)
    assert len(told) == 1
    assert "on gpu-1 (backup) since" in told[0]
    with pytest.raises(DataDiskInUse, match=r"on gpu-1 \(backup\) since"), lease.held("verify"):
        pass
    holder.communicate(b"\n", timeout=20)
    with lease.held("verify"):
        assert "lease.2" in names(tmp_path)


@needs_hosts
def test_a_wish_to_stop_ends_the_watch(tmp_path: Path, start: Start) -> None:
    assert said(start(HOLD, "gpu-1", str(PATIENT_S))) == "held\n"

    def stop() -> None:
        raise Stopped("test")

    with pytest.raises(Stopped):
        lease_on(str(tmp_path), PATIENT_S).watch(stop, lambda _: None)


@needs_hosts
def test_a_host_that_was_killed_is_followed_after_the_expiry(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "gpu-1", "0.6")
    assert said(holder) == "held\n"
    holder.kill()
    holder.wait()
    lease = lease_on(str(tmp_path), 0.6)
    began_s = time.monotonic()
    lease.watch(lambda: None, lambda _: None)
    assert time.monotonic() - began_s >= 0.6
    with lease.held("verify"):
        assert not {name for name in names(tmp_path) if name.startswith("lease.1")}
        assert lease.fence == 2


@needs_hosts
def test_a_host_that_was_stopped_and_comes_back_finds_itself_replaced(tmp_path: Path, start: Start) -> None:
    holder = start(HOLD, "gpu-1", "0.6")
    assert said(holder) == "held\n"
    inside = child_of(holder)
    os.kill(inside, signal.SIGSTOP)
    lease = lease_on(str(tmp_path), 0.6)
    lease.watch(lambda: None, lambda _: None)
    with lease.held("verify"):
        os.kill(inside, signal.SIGCONT)
        assert holder.stdin is not None
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        words = said(holder)
        assert words.startswith("ZS121 another host has taken the data disk over"), words
        assert f"process {os.getpid()} on " in words
        lease.confirm()
    assert holder.wait(20) == 0
    assert {"lease.2", "lease.2.done"} <= names(tmp_path)


def test_a_process_of_this_host_that_was_killed_is_followed_at_once(tmp_path: Path, start: Start) -> None:
    name = os.uname().nodename  # it keeps the name that it has
    holder = start(HOLD.replace("socket.sethostname(sys.argv[2])", ""), name, str(PATIENT_S), before=())
    assert said(holder) == "held\n"
    with lease_on(str(tmp_path), PATIENT_S).held("verify"):
        assert names(tmp_path) == {"lease.1"}, "the lock on the disk keeps the two apart"
    holder.kill()
    holder.wait()
    with lease_on(str(tmp_path), PATIENT_S).held("verify"):
        assert "lease.2" in names(tmp_path)


def test_what_is_lost_is_noticed_by_the_beat_and_told_between_chunks(tmp_path: Path) -> None:
    class Never:
        def check(self) -> None:
            pass

    lease = lease_on(str(tmp_path), 0.5)
    guard = lease.guarding(Never())
    with lease.held("backup"):
        guard.check()
        (tmp_path / ".zimage-syncd/lease/lease.2").write_bytes(b"")
        wait_until(lambda: lease.is_lost)
        with pytest.raises(DataDiskTaken):
            guard.check()
    assert not lease.is_lost
    assert "lease.2.done" not in names(tmp_path)
    assert "lease.1.done" not in names(tmp_path)

"""The daemon as process 1 of a process name space, as a container starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import QUIET, Daemon
from tests.support.machine import Machine

IN_A_NAME_SPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
ORPHANS = 20


@pytest.fixture
def contained(machine: Machine) -> Iterator[Daemon]:
    tried = subprocess.run([*IN_A_NAME_SPACE, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no process name spaces here: {tried.stderr}")
    machine.write_config(QUIET)
    machine.fill()
    machine.run("backup")
    with Daemon(machine, before=IN_A_NAME_SPACE) as daemon:
        daemon.wait_for("job finished")
        yield daemon
        for init in children(daemon.process.pid) if daemon.process.poll() is None else ():
            os.kill(init, signal.SIGTERM)  # `unshare` itself takes no signals while it waits


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zombies(pid: int) -> list[int]:
    return [
        child for child in children(pid) if Path(f"/proc/{child}/stat").read_text().rsplit(")")[-1].split()[0] == "Z"
    ]


def test_orphans_are_reaped(contained: Daemon) -> None:
    (init,) = children(contained.process.pid)
    (worker,) = children(init)
    assert os.readlink(f"/proc/{init}/ns/pid") != os.readlink("/proc/self/ns/pid")
    script = f"for n in $(seq {ORPHANS}); do sh -c 'sleep 2 & exec true'; done; sleep 0.1; cat /proc/1/task/1/children"
    inside = ["nsenter", "--target", str(init), "--pid", "--mount", "sh", "-c", script]
    adopted = subprocess.run(inside, check=True, capture_output=True, text=True).stdout.split()
    assert len(adopted) >= ORPHANS // 2, "process 1 got the orphans"
    end = time.monotonic() + 10
    while children(init) != [worker] and time.monotonic() < end:
        time.sleep(0.05)
    assert children(init) == [worker], "the others are zombies"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_daemon_and_its_exit_status_comes_back(contained: Daemon, sign: signal.Signals) -> None:
    (init,) = children(contained.process.pid)
    os.kill(init, sign)
    assert contained.ended() == 0
    assert "stopped" in contained.said()


def test_a_hang_up_is_passed_on(contained: Daemon) -> None:
    (init,) = children(contained.process.pid)
    os.kill(init, signal.SIGHUP)
    contained.wait_for("configuration read anew")
    os.kill(init, signal.SIGTERM)
    assert contained.ended() == 0


def test_a_daemon_that_is_killed_ends_the_container_as_a_shell_would_say_it(contained: Daemon) -> None:
    (init,) = children(contained.process.pid)
    (worker,) = children(init)
    os.kill(worker, signal.SIGKILL)
    assert contained.ended() == 128 + signal.SIGKILL


def test_a_configuration_that_is_not_valid_ends_it_with_3(machine: Machine, contained: Daemon) -> None:
    machine.write_config("[helth]\n")
    with Daemon(machine, before=IN_A_NAME_SPACE) as refused:
        assert refused.ended() == 3

"""A server that tests started ends with the run, also where the run is killed before it can stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WORKER = """
import pathlib, sys, time
from tests.support.processes import start
print(start(["sleep", "600"], pathlib.Path(sys.argv[1])), flush=True)
time.sleep(600 if sys.argv[2] == "stays" else 0)
"""

RUN = """
import os, subprocess, sys, time
subprocess.run([sys.executable, "-c", *sys.argv[1:]], env={**os.environ, "PYTEST_XDIST_WORKER": "gw0"})
print("worker gone", flush=True)
time.sleep(600)
"""


def begun(*arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen([sys.executable, "-c", *arguments], stdout=subprocess.PIPE, text=True, env=environment)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def within(limit_s: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_takes_its_server_along(tmp_path: Path, sign: signal.Signals) -> None:
    run = begun(WORKER, str(tmp_path / "log"), "stays")
    assert run.stdout is not None
    server = int(run.stdout.readline())
    assert is_running(server)
    run.send_signal(sign)
    run.communicate()
    assert within(10, lambda: not is_running(server))


def test_a_server_outlives_the_worker_that_started_it_and_not_the_run(tmp_path: Path) -> None:
    run = begun(RUN, WORKER, str(tmp_path / "log"), "ends")
    assert run.stdout is not None
    server = int(run.stdout.readline())
    assert run.stdout.readline() == "worker gone\n"
    assert not within(1, lambda: not is_running(server))
    run.terminate()
    run.communicate()
    assert within(10, lambda: not is_running(server))

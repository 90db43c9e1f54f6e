"""Servers that tests start: free ports, waiting until they answer, stopping, and one for all of a run's processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


_WATCHDOG = """
import select, signal, sys
run, server = map(int, sys.argv[1:])
watched = select.poll()
watched.register(run, select.POLLIN)
watched.register(server, select.POLLIN)
if all(descriptor != server for descriptor, _ in watched.poll()):
    signal.pidfd_send_signal(server, signal.SIGKILL)
"""
"""Ends a server whose test run is gone without stopping it, as after a SIGTERM. Not the kernel's own signal at a
parent's death (PR_SET_PDEATHSIG): the parent is one worker of many, and others use the server when it has ended."""


def start(command: list[str], log: Path) -> int:
    """Starts a server in a session of its own, which ends with the test run at the latest; returns its process id."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    # A worker of pytest-xdist is a child of the process that a person started.
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    watched = [os.pidfd_open(run), os.pidfd_open(process.pid)]
    watchdog = [sys.executable, "-I", "-S", "-c", _WATCHDOG, *map(str, watched)]
    subprocess.Popen(
        watchdog, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, pass_fds=watched
    )
    for descriptor in watched:
        os.close(descriptor)
    return process.pid


def wait_until(answers: Callable[[], bool], pid: int, log: Path, limit_s: float = 60) -> None:
    """Waits until a server answers; fails with its last words when it ends or takes too long."""
    end = time.monotonic() + limit_s
    while not answers():
        if has_ended(pid) or time.monotonic() > end:
            words = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the server is not there: {words}")
        time.sleep(0.1)


def has_ended(pid: int) -> bool:
    """Whether a process has ended, be it a child of this one or not."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def stop(pid: int, patience_s: float = 2) -> None:
    """Asks a process to end, then makes it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            if has_ended(pid):
                return
            time.sleep(0.05)


def directory_of_run(base: Path) -> Path:
    """The directory that all processes of a test run share, from pytest's `getbasetemp()` in one of them."""
    # pytest-xdist gives every worker a base of its own below a common one.
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def shared(directory: Path, begin: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One server for all processes of a test run: the first one starts it, the last one stops it.

    Args:
        directory: the same for all of them; `server.json` in it says who serves and how many use it.
        begin: starts the server and returns what others need to know, with its `pid`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    state_file, lock = directory / "server.json", FileLock(directory / "server.lock")
    with lock:
        state = json.loads(state_file.read_text()) if state_file.exists() else {"users": 0, "server": begin()}
        state["users"] += 1
        state_file.write_text(json.dumps(state))
    try:
        yield state["server"]
    finally:
        with lock:
            state = json.loads(state_file.read_text())
            state["users"] -= 1
            if state["users"]:
                state_file.write_text(json.dumps(state))
            else:
                state_file.unlink()
                stop(state["server"]["pid"])

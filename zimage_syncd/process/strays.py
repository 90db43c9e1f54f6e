"""Ends what a probe has started and left behind, also outside of its process group.

A process that makes a session of its own, or a daemon of itself, is no longer in the group that is killed. Its
environment is inherited, though: a mark in it is found in /proc/PID/environ as long as the process, or the one that it
was forked from, was not started with another environment. That needs no privileges and no control group of one's own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator

VARIABLE = "ZIMAGE_SYNCD_PROBE_MARK"
"""Holds the mark: who started the probe (PID namespace, number, moment of its start), and a random number."""

_ROUNDS = 50
_BETWEEN_ROUNDS_S = 0.02
"""Who is killed may just have forked, so it is looked for again: for a second, at most."""


def new_mark() -> str:
    """A mark for a probe that this process starts."""
    return f"{_starter(os.getpid())}.{secrets.token_hex(8)}"


def end_marked(mark: str) -> None:
    """Kills everything that carries this mark, and returns when nothing does."""
    for _ in range(_ROUNDS):
        if not [pid for pid, found in _marked() if found == mark and _kill(pid, mark)]:
            return
        time.sleep(_BETWEEN_ROUNDS_S)


def end_orphaned() -> None:
    """Kills what probes have left behind whose starter is gone: it was killed, and could not do this itself."""
    for mark in {mark for _, mark in _marked() if _is_orphaned(mark)}:
        end_marked(mark)


def _marked() -> Iterator[tuple[int, str]]:
    """Processes with a mark, as far as they may be looked at; this one is none of them."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            mark = _mark_of(int(entry))
            if mark:
                yield int(entry), mark


def _mark_of(pid: int) -> str:
    """What a process was marked with; empty where it was not, is another user's, or has ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            variables = stream.read().split(b"\0")
    except OSError:
        return ""
    start = f"{VARIABLE}=".encode()
    return next((entry[len(start) :].decode(errors="replace") for entry in variables if entry.startswith(start)), "")


def _is_orphaned(mark: str) -> bool:
    """Whether its starter is gone; of a starter in a container, whose numbers are others, nobody can tell from here."""
    namespace, _, rest = mark.partition(".")
    pid = rest.partition(".")[0]
    if not namespace or namespace != _namespace() or not pid.isdecimal():
        return False
    return not mark.startswith(f"{_starter(int(pid))}.")


def _starter(pid: int) -> str:
    return f"{_namespace()}.{pid}.{_began(pid)}"


def _namespace() -> str:
    """In which numbers of processes mean what they mean here (pid_namespaces(7)); empty where that is hidden."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in ticks since boot, which tells it from a later one with its number; empty: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()


def _kill(pid: int, mark: str) -> bool:
    """Kills a process that still carries the mark; False where it has ended, or may not be killed."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The number may have been given to somebody else since it was read; from now on it cannot be.
        if _mark_of(pid) != mark:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True

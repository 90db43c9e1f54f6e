"""Process 1 of a container: starts the daemon as its only child, passes signals on, and reaps whatever else ends.

The kernel gives process 1 the orphans of its name space. Reaping all children in the daemon itself would take the exit
status of the health check from whom it belongs to; a parent that does nothing else has no such children.
"""

from __future__ import annotations

import os
import signal

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_HEARD = frozenset({*_PASSED_ON, signal.SIGCHLD})
_KILLED = 128
"""What a shell adds to a signal's number (POSIX, `$?`)."""


def begin_as_init() -> int | None:
    """Parts process 1 in two; to be called before any thread is started.

    Returns:
        In the child, which is to be the daemon: None. In process 1, when the daemon has ended: its exit status.
    """
    # Before the fork, so that no signal is lost between it and the first wait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    daemon = os.fork()
    if daemon:
        return _reap_until_ended(daemon)
    # Away from the terminal's group: Ctrl-C comes once, from process 1. Without the terminal SIGHUP keeps its meaning.
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return None


def _reap_until_ended(daemon: int) -> int:
    while True:
        heard = signal.sigwait(_HEARD)
        if heard != signal.SIGCHLD:
            os.kill(daemon, heard)  # nobody else has its number: it is reaped here alone
        # Several ends may be one signal.
        for pid, status in iter(_next_ended, None):
            if pid == daemon:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else _KILLED - code


def _next_ended() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None

"""A probe's process that was started before there is a request for it.

A probe asks the kernel to end it with the thread that started it (prctl(2), PR_SET_PDEATHSIG). Whoever wants one ahead
is a worker of a transfer, which ends before the request comes: so the child has a thread of its own, which lives as
long.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable


class KeptChild:
    """One child with pipes, and the thread that it ends with."""

    def __init__(self, layout: str, mark: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        """Starts the thread, which starts the child; returns at once.

        Args:
            layout: what it was started for.
            mark: by which its left-overs are found.
            start: starts it; may raise OSError.
        """
        self.layout, self.mark = layout, mark
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._is_started, self._is_released = threading.Event(), threading.Event()
        threading.Thread(target=self._keep, name="probe-ahead", daemon=True).start()

    def process(self) -> subprocess.Popen[bytes] | None:
        """The child, once it was started; None where it could not be."""
        self._is_started.wait()
        return self._process

    def is_running(self) -> bool:
        """Whether it was started and has not ended; it is not reaped."""
        process = self.process()
        return process is not None and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None

    def release(self) -> None:
        """Lets the thread end, once the child has been reaped or there is none."""
        self._is_released.set()

    def _keep(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._process = self._start()
        finally:
            self._is_started.set()
        self._is_released.wait()

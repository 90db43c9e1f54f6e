"""Whether work advances, and what it is: every look for a wish to stop and every byte is a sign of life.

A thread that hangs in a dead mount gives none. That is all that can be known of it, since nothing can interrupt it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import Cancel, Monitor
from zimage_syncd.report.words import size

_DOING = {
    "back": "backing",
    "check": "checking",
    "examine": "examining",
    "look": "looking",
    "mend": "mending",
    "restore": "restoring",
    "verify": "verifying",
}
"""What the monitor's tasks begin with, and how one says that it is being done."""


class Pulse:
    """A `ports.Monitor` and a `ports.Cancel` between the jobs and those who show progress and ask for a stop."""

    def __init__(self, monitor: Monitor, cancel: Cancel) -> None:
        self._monitor = monitor
        self._cancel = cancel
        self._lock = threading.Lock()
        self._under_way: list[str] = []
        self._signs = self._signs_seen = 0
        self._task = ""
        self._done_bytes = self._total_bytes = 0

    @contextlib.contextmanager
    def working(self, job: str) -> Iterator[None]:
        """While a job is under way.

        Args:
            job: what it is, as in "a deep verification"; told where the job says nothing better of itself.
        """
        with self._lock:
            self._under_way.append(job)
            self._signs += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(job)
                self._signs += 1
                self._task = ""

    def alive(self) -> bool:
        """Whether nothing is under way, or there was a sign of life since the last time that this was asked."""
        with self._lock:
            advanced = self._signs != self._signs_seen
            self._signs_seen = self._signs
            return advanced or not self._under_way

    def doing(self) -> str:
        """What is under way, with how far it is; empty where nothing is."""
        with self._lock:
            task, done_bytes, total_bytes = self._task, self._done_bytes, self._total_bytes
            job = self._under_way[0] if self._under_way else ""
        if not task:
            return job
        verb, _, rest = task.partition(" ")
        sentence = f"{_DOING.get(verb, verb)} {rest}"
        return f"{sentence}: {size(done_bytes)} of {size(total_bytes)}" if total_bytes else sentence

    def check(self) -> None:
        """Goes on, or raises.

        Raises:
            Stopped: somebody asked to stop.
        """
        self._signs += 1  # without the lock: one sign that is lost among many does not matter
        self._cancel.check()

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        """A task starts."""
        with self._lock:
            self._signs += 1
            self._task, self._done_bytes, self._total_bytes = task, 0, total_bytes
        self._monitor.begin(task, total_bytes, restores=restores)

    def advance(self, count_bytes: int) -> None:
        """So many more bytes are done."""
        with self._lock:
            self._signs += 1
            self._done_bytes += count_bytes
        self._monitor.advance(count_bytes)

    def note(self, text: str) -> None:
        """A sentence for people."""
        self._monitor.note(text)

    def finish(self) -> None:
        """The task has ended."""
        with self._lock:
            self._task = ""
        self._monitor.finish()

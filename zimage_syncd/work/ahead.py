"""Has the probe's process prepared when a restore nears its end, so that its imports are done when it is asked.

Too early, the process holds some hundreds of megabytes for nothing; too late, the picture waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import Clock, Monitor

LEAD_S = 15.0
"""Before the end: seen on a machine with an H200, the imports of a fresh process take 4 to 15 s."""

_WINDOW_S = 5.0
"""The rate is that of the last seconds: workers join, a store ends, a rate limit begins."""

_BETWEEN_S = 0.25
"""Pieces arrive thousands of times a second; the rate is looked at as often as this."""


class Ahead:
    """A `ports.Monitor` that passes everything on to another one."""

    def __init__(self, monitor: Monitor, clock: Clock, prepare: Callable[[str], None]) -> None:
        """Watches nothing yet.

        Args:
            monitor: is told everything.
            clock: tells how long bytes take.
            prepare: is called once, with the layout of the snapshot, when its restore is about to end.
        """
        self._monitor = monitor
        self._clock = clock
        self._prepare = prepare
        self._lock = threading.Lock()
        self._layout = ""
        self._is_prepared = False
        self._total_bytes = self._done_bytes = 0
        self._samples: deque[tuple[float, int]] = deque()

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        """A task starts; one that restores and has something to bring is watched."""
        with self._lock:
            self._layout = str(restores.layout) if restores is not None and total_bytes > 0 else ""
            self._total_bytes, self._done_bytes = total_bytes, 0
            self._samples = deque([(self._clock.monotonic_s(), 0)])
        self._monitor.begin(task, total_bytes, restores=restores)

    def advance(self, count_bytes: int) -> None:
        """So many more bytes are done."""
        with self._lock:
            self._done_bytes += count_bytes
            layout = self._take(is_time=self._is_near())
        self._call(layout)
        self._monitor.advance(count_bytes)

    def note(self, text: str) -> None:
        """A sentence for people."""
        self._monitor.note(text)

    def finish(self) -> None:
        """The task has ended: at the latest now, since what was restored is still to be compared with its record."""
        with self._lock:
            layout = self._take(is_time=True)
            self._layout = ""
        self._call(layout)
        self._monitor.finish()

    def _is_near(self) -> bool:
        """Whether the restore ends soon, at the rate of the last seconds."""
        now_s = self._clock.monotonic_s()
        if not self._layout or self._is_prepared or now_s - self._samples[-1][0] < _BETWEEN_S:
            return False
        self._samples.append((now_s, self._done_bytes))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - _WINDOW_S:
            self._samples.popleft()
        since_s, since_bytes = self._samples[0]
        arrived_bytes = self._done_bytes - since_bytes
        return (self._total_bytes - self._done_bytes) * (now_s - since_s) <= LEAD_S * arrived_bytes

    def _take(self, *, is_time: bool) -> str:
        """The layout to prepare for, the first time that it is asked for and there is one; else an empty string."""
        if self._is_prepared or not is_time or not self._layout:
            return ""
        self._is_prepared = True
        return self._layout

    def _call(self, layout: str) -> None:
        """Outside of the lock: a process takes its time to start, and other workers wait for no such thing."""
        if layout:
            self._prepare(layout)

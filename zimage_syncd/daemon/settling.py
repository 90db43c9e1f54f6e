"""When a download is finished: nothing in the cache was changed for a while, and nobody is writing there."""

from __future__ import annotations

import threading
from collections.abc import Callable

from zimage_syncd.ports import Clock


class Settling:
    """Remembers that something changed until it was dealt with; safe to use from several threads.

    Args:
        settle_s: backup.settle_s: how long nothing may have changed.
        is_written: whether some process has a file of the cache open for writing.
        clock: time.
    """

    def __init__(self, settle_s: float, is_written: Callable[[], bool], clock: Clock) -> None:
        self._settle_s = settle_s
        self._is_written = is_written
        self._clock = clock
        self._lock = threading.Lock()
        self._changed_s: float | None = None

    def changed(self, pause_s: float = 0.0) -> None:
        """Something changed, or has to be tried again after a pause."""
        with self._lock:
            self._changed_s = self._clock.monotonic_s() + pause_s

    def take(self) -> bool:
        """Whether something changed and has settled; says so once."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._changed_s is None or now_s - self._changed_s < self._settle_s:
                return False
            if self._is_written():
                # A large file grows for minutes without an event: its name is there already.
                self._changed_s = now_s
                return False
            self._changed_s = None
            return True

"""Holds a rate of bytes: whoever moves some asks first and waits for its turn."""

from __future__ import annotations

import threading
from typing import Protocol

from zimage_syncd.ports import Cancel, Clock

_CREDIT_S = 0.1
"""What an idle time may be made up for: enough for a late sleeper, too little to be seen as a burst."""

_LOOK_EVERY_S = 0.1
"""How long somebody who wants to stop waits at most."""


class Rate(Protocol):
    """A limit on how fast bytes move; shared by all threads of a job."""

    def take(self, count_bytes: int) -> None:
        """Waits until so many bytes may move.

        Raises:
            Stopped: somebody asked to stop meanwhile.
        """


class Unlimited:
    """A `Rate` that never waits."""

    def take(self, count_bytes: int) -> None:
        """Returns at once."""


class TokenBucket:
    """A `Rate` of so many bytes a second; any number of threads keep it together.

    Each taker books its time slot after the last one booked and sleeps until it begins, so a late awakening delays
    one piece and never the average.
    """

    def __init__(self, rate_bytes_per_s: float, clock: Clock, cancel: Cancel) -> None:
        """Begins empty: the first byte may move at once, the rest follow at the rate.

        Args:
            rate_bytes_per_s: above 0.
            clock: by which the time is told and waited.
            cancel: looked at while waiting.
        """
        self._rate_bytes_per_s = rate_bytes_per_s
        self._clock = clock
        self._cancel = cancel
        self._lock = threading.Lock()
        self._free_at_s = clock.monotonic_s()

    def take(self, count_bytes: int) -> None:
        """Waits until so many bytes may move.

        Raises:
            Stopped: somebody asked to stop meanwhile.
        """
        begin_s = self._book(count_bytes)
        while (left_s := begin_s - self._clock.monotonic_s()) > 0:
            self._cancel.check()
            self._clock.sleep(min(left_s, _LOOK_EVERY_S))

    def _book(self, count_bytes: int) -> float:
        with self._lock:
            begin_s = max(self._free_at_s, self._clock.monotonic_s() - _CREDIT_S)
            self._free_at_s = begin_s + count_bytes / self._rate_bytes_per_s
            return begin_s

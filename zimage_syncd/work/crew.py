"""Workers that come and go: as many as are wanted at the moment, until the work is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

_LOOK_EVERY_S = 1.0
"""How long nobody new may be hired: a piece of work can take minutes on a slow network."""


class Crew:
    """Works something off in the threads of a pool; used once.

    Args:
        pool: with as many threads as there may ever be workers.
        wanted: how many workers there are to be now, from 1; asked after every piece of work, and every second.
        act: does one piece of work as the worker of this number (from 0); False where none is left.
    """

    def __init__(self, pool: Executor, wanted: Callable[[], int], act: Callable[[int], bool]) -> None:
        self._pool = pool
        self._wanted = wanted
        self._act = act
        self._lock = threading.Lock()
        self._at_work: set[int] = set()
        self._futures: set[Future[None]] = set()
        self._over = False

    def work(self) -> None:
        """Returns when all work is done; what a worker raises ends the others and is raised here."""
        self._hire()
        try:
            while futures := self._pending():
                done, _ = wait(futures, _LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                with self._lock:
                    self._futures -= done
                for future in done:
                    future.result()
                self._hire()
        finally:
            self._over = True
            wait(self._pending())

    def _pending(self) -> list[Future[None]]:
        with self._lock:
            return list(self._futures)

    def _hire(self) -> None:
        with self._lock:
            missing = [number for number in range(self._wanted()) if number not in self._at_work]
            for number in missing if not self._over else ():
                self._at_work.add(number)
                self._futures.add(self._pool.submit(self._one, number))

    def _one(self, number: int) -> None:
        try:
            while not self._over and number < self._wanted():
                if not self._act(number):
                    self._over = True
                    return
                self._hire()
        except BaseException:
            self._over = True  # here, for `work` may be waiting for others that were hired before
            raise
        finally:
            with self._lock:
                self._at_work.discard(number)

"""Runs several writers one step at a time, in every order or in a given one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

WAIT_S = 20


class Died(BaseException):
    """Ends a writer where it stands, as kill -9 would."""


class Turns:
    """Writers in threads; each waits at every `gate` until it is its turn.

    Args:
        writers: what they do.
        pick: which one of those that still run goes next.
    """

    def __init__(self, writers: Sequence[Callable[[], object]], pick: Callable[[list[int]], int]) -> None:
        self._writers = writers
        self._pick = pick
        self._events: queue.Queue[tuple[int, bool]] = queue.Queue()
        self._go = [threading.Semaphore(0) for _ in writers]
        self._numbers: dict[int, int] = {}
        self.errors: list[BaseException] = []

    def writer(self) -> int | None:
        """The number of the writer whose thread this is; None in others."""
        return self._numbers.get(threading.get_ident())

    def gate(self) -> None:
        """Waits for its turn, when called from a writer's thread; others pass."""
        number = self.writer()
        if number is not None:
            self._events.put((number, False))
            if not self._go[number].acquire(timeout=WAIT_S):
                raise TimeoutError("nobody gave this writer its turn")

    def run(self) -> None:
        """Runs all writers to their ends."""
        threads = [threading.Thread(target=self._body, args=(number,)) for number in range(len(self._writers))]
        for thread in threads:
            thread.start()
        running = set(range(len(threads)))
        for _ in threads:
            self._step(running)
        while running:
            self._go[self._pick(sorted(running))].release()
            self._step(running)
        for thread in threads:
            thread.join(WAIT_S)

    def _step(self, running: set[int]) -> None:
        number, ended = self._events.get(timeout=WAIT_S)
        if ended:
            running.discard(number)

    def _body(self, number: int) -> None:
        self._numbers[threading.get_ident()] = number
        try:
            self._writers[number]()
        except Died:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._events.put((number, True))


def every_order(run: Callable[[Callable[[list[int]], int]], None]) -> Iterator[int]:
    """Calls `run` with a `pick` for each possible order of steps; yields how many were tried."""
    prefix: list[int] = []
    count = 0
    while True:
        trace: list[tuple[int, int]] = []

        def pick(running: list[int], trace: list[tuple[int, int]] = trace, prefix: list[int] = prefix) -> int:
            index = prefix[len(trace)] if len(trace) < len(prefix) else 0
            trace.append((index, len(running)))
            return running[index]

        run(pick)
        count += 1
        yield count
        while trace and trace[-1][0] + 1 == trace[-1][1]:
            trace.pop()
        if not trace:
            return
        prefix = [index for index, _ in trace[:-1]] + [trace[-1][0] + 1]

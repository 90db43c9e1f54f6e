"""Crew: workers come and go, no piece of work is lost or done twice, and what one raises ends all."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from zimage_syncd.work.crew import Crew

MOST = 8


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(MOST) as pool:
        yield pool


class Work:
    """Pieces of work that are counted; `meanwhile` is called with each."""

    def __init__(self, pieces: int, meanwhile: Callable[[int], None] = lambda _piece: None) -> None:
        self._left = iter(range(pieces))
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self.done: list[int] = []
        self.workers: list[int] = []
        self.at_once = self.most_at_once = 0

    def act(self, worker: int) -> bool:
        with self._lock:
            piece = next(self._left, None)
            if piece is None:
                return False
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.workers.append(worker)
        try:
            self._meanwhile(piece)
        finally:
            with self._lock:
                self.at_once -= 1
        with self._lock:
            self.done.append(piece)
        return True


@pytest.mark.parametrize("wanted", [1, 3, MOST])
def test_every_piece_is_done_once(pool: ThreadPoolExecutor, wanted: int) -> None:
    work = Work(500)
    Crew(pool, lambda: wanted, work.act).work()
    assert sorted(work.done) == list(range(500))
    assert set(work.workers) <= set(range(wanted))


def test_no_work_ends_at_once(pool: ThreadPoolExecutor) -> None:
    Crew(pool, lambda: 4, Work(0).act).work()


def test_workers_join_while_the_others_are_at_one_long_piece(pool: ThreadPoolExecutor) -> None:
    wanted = 1
    together = threading.Barrier(2, timeout=30)

    def meanwhile(piece: int) -> None:
        nonlocal wanted
        if piece < 2:
            wanted = 2
            together.wait()  # only somebody else at the second piece ends the first one

    work = Work(2, meanwhile)
    Crew(pool, lambda: wanted, work.act).work()
    assert sorted(work.workers) == [0, 1]


def test_workers_that_are_wanted_later_join(pool: ThreadPoolExecutor) -> None:
    wanted = 1
    together = threading.Barrier(4, timeout=30)

    def meanwhile(piece: int) -> None:
        nonlocal wanted
        if piece == 0:
            wanted = 4
        else:
            together.wait()  # passes only where four work at once

    work = Work(1 + 4 * 5, meanwhile)
    Crew(pool, lambda: wanted, work.act).work()
    assert sorted(work.done) == list(range(21))
    assert work.most_at_once == 4


def test_workers_that_are_one_too_many_leave(pool: ThreadPoolExecutor) -> None:
    wanted = 6
    late: list[int] = []

    def meanwhile(piece: int) -> None:
        nonlocal wanted
        if piece == 50:
            wanted = 2
        if piece > 50 + MOST:
            late.append(work.at_once)

    work = Work(300, meanwhile)
    Crew(pool, lambda: wanted, work.act).work()
    assert sorted(work.done) == list(range(300))
    assert max(late) <= 2


def test_a_number_that_changes_all_the_time_loses_nobody(pool: ThreadPoolExecutor) -> None:
    numbers = itertools.cycle([1, 5, 2, MOST, 1, 3])
    lock = threading.Lock()

    def wanted() -> int:
        with lock:
            return next(numbers)

    work = Work(3000)
    Crew(pool, wanted, work.act).work()
    assert sorted(work.done) == list(range(3000))


def test_what_one_raises_ends_the_others_and_is_raised(pool: ThreadPoolExecutor) -> None:
    def meanwhile(piece: int) -> None:
        if piece == 20:
            raise ValueError("piece 20")

    work = Work(10**9, meanwhile)
    with pytest.raises(ValueError, match="piece 20"):
        Crew(pool, lambda: 4, work.act).work()


def test_what_a_worker_that_joined_later_raises_ends_the_others_too(pool: ThreadPoolExecutor) -> None:
    """Workers that were there from the start went on to the end of all work."""
    wanted = 1

    def act(worker: int) -> bool:
        nonlocal wanted
        wanted = 2
        if worker == 1:
            raise ValueError("the second")
        return True

    with pytest.raises(ValueError, match="the second"):
        Crew(pool, lambda: wanted, act).work()

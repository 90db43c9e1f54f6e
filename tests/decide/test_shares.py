"""Shares: bounds that hold whatever is measured, and simulated sources on which they settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from zimage_syncd.decide.shares import AFTER_SETBACK, WORTH_KEEPING, Shares, after_window

MOST = 32

windows = st.lists(
    st.tuples(st.floats(0, 1e10), st.lists(st.integers(0, 3), min_size=3, max_size=3), st.sets(st.integers(0, 2))),
    max_size=60,
)


@given(windows, st.integers(1, 3), st.integers(1, 8), st.integers(8, MOST))
def test_the_total_stays_between_one_and_the_most_and_no_dropped_source_keeps_a_worker(
    seen: list[tuple[float, list[int], set[int]]], sources: int, workers: int, most: int
) -> None:
    shares = Shares.first(sources, workers)
    gone: set[int] = set()
    for rate, setbacks, dropped in seen:
        gone |= {source for source in dropped if source < sources}
        shares = after_window(shares, rate, most, setbacks=setbacks[:sources], dropped=gone)
        assert 1 <= shares.total <= most
        assert all(count >= 0 for count in shares.workers)
        if len(gone) < sources:
            assert not any(shares.workers[source] for source in gone)
        numbered = [shares.source_of(worker) for worker in range(shares.total)]
        assert numbered == sorted(number for number in numbered if number is not None)
        assert shares.source_of(shares.total) is None


@given(st.lists(st.floats(0, 1e10), max_size=60), st.integers(1, 3))
def test_growth_is_kept_only_where_the_rate_grew(rates: list[float], sources: int) -> None:
    shares = Shares.first(sources, 4)
    for rate in rates:
        before, trial = shares, shares.trial
        shares = after_window(shares, rate, MOST)
        if trial is None:
            continue
        kept = shares.workers == before.workers
        assert kept == (rate >= trial.rate * WORTH_KEEPING)
        assert kept or shares.workers[trial.source] == trial.before


def test_what_was_being_tried_when_a_source_asked_for_less_is_not_kept() -> None:
    shares = settled(lambda workers: 100.0, Shares.first(2, 4), until=lambda shares: shares.trial is not None)
    while shares.trial is None or shares.trial.source != 1:
        shares = after_window(shares, 100.0, MOST)
    tried = shares.workers
    assert tried[1] == 2
    shares = after_window(shares, 1000.0, MOST, setbacks=(1, 0))
    assert shares.trial is None
    assert shares.workers == (tried[0] // 2, 0)


def settled(
    rate: Callable[[Sequence[int]], float],
    shares: Shares,
    *,
    windows: int = 60,
    until: Callable[[Shares], bool] = lambda _shares: False,
) -> Shares:
    """Shares after some windows on sources whose common rate depends on the workers of each."""
    for _ in range(windows):
        if until(shares):
            break
        shares = after_window(shares, rate(shares.workers), MOST)
    return shares


def kept(shares: Shares) -> tuple[int, ...]:
    """The workers without what is only being tried."""
    workers = list(shares.workers)
    if shares.trial is not None:
        workers[shares.trial.source] = shares.trial.before
    return tuple(workers)


@given(st.integers(1, MOST))
def test_a_source_that_saturates_is_given_enough_workers_and_not_many_more(enough: int) -> None:
    def rate(workers: Sequence[int]) -> float:
        return 100.0 * min(workers[0], enough)

    (workers,) = kept(settled(rate, Shares.first(1, 4), windows=40))
    # Growth goes on by half: the last step that still brought something may go beyond by that.
    assert min(enough, MOST) * 0.8 <= workers <= max(4, enough * 1.5 + 2)


def test_a_second_source_that_adds_speed_is_kept() -> None:
    def rate(workers: Sequence[int]) -> float:
        return min(100.0 * workers[0], 400.0) + min(100.0 * workers[1], 600.0)

    first, second = kept(settled(rate, Shares.first(2, 4)))
    assert first >= 4
    assert second >= 4


def test_a_second_source_that_adds_nothing_or_slows_down_is_left_again() -> None:
    for loss in (0.0, 50.0):

        def rate(workers: Sequence[int], loss: float = loss) -> float:
            return min(100.0 * workers[0], 400.0) - loss * workers[1]

        shares = Shares.first(2, 4)
        windows_with_second = 0
        for _ in range(100):
            shares = after_window(shares, rate(shares.workers), MOST)
            windows_with_second += shares.workers[1] > 0
        assert kept(shares)[1] == 0
        # Each time it is tried again after twice as many windows.
        assert windows_with_second <= 4


def test_a_storm_of_setbacks_leaves_one_worker_and_growth_begins_again_after_it() -> None:
    shares = settled(lambda workers: 100.0 * workers[0], Shares.first(1, 4))
    assert shares.total == MOST
    for _ in range(6):
        shares = after_window(shares, 1.0, MOST, setbacks=(5,))
    assert shares.workers == (1,)
    for _ in range(AFTER_SETBACK - 1):
        shares = after_window(shares, 100.0, MOST)
        assert shares.workers == (1,)
    assert settled(lambda workers: 100.0 * workers[0], shares).total == MOST


def test_workers_of_a_dropped_source_go_to_the_nearest_that_is_left() -> None:
    shares = Shares((12, 0, 2), (0, 0, 0), (8, 8, 8))
    assert after_window(shares, 1.0, MOST, dropped={0}).workers == (0, 12, 2)
    assert after_window(shares, 1.0, MOST, dropped={0, 1}).workers == (0, 0, 12)
    assert after_window(shares, 1.0, MOST, dropped={2}).workers == (12, 0, 0)


def test_where_everything_is_dropped_somebody_is_left_to_ask() -> None:
    assert after_window(Shares.first(2, 4), 1.0, MOST, dropped={0, 1}).total >= 1


def test_growth_settles_after_a_bounded_number_of_windows() -> None:
    def rate(workers: Sequence[int]) -> float:
        return 100.0 * min(workers[0], 16)

    shares = Shares.first(1, 4)
    changes = 0
    for _ in range(200):
        after = after_window(shares, rate(shares.workers), MOST)
        changes += after.workers != shares.workers
        shares = after
    # Up to 16 in a few steps; from then on a try now and then, ever more seldom.
    assert changes <= 20

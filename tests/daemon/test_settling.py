"""A download is finished when nothing changes and nobody writes; it is told once."""

from __future__ import annotations

from tests.support.clock import HeldClock
from zimage_syncd.daemon.settling import Settling


def test_a_change_settles_once() -> None:
    clock = HeldClock()
    settling = Settling(60, lambda: False, clock)
    assert not settling.take()
    settling.changed()
    clock.move(59)
    assert not settling.take()
    settling.changed()
    clock.move(59)
    assert not settling.take(), "it changed again"
    clock.move(1)
    assert settling.take()
    assert not settling.take()


def test_what_is_still_written_has_not_settled() -> None:
    clock = HeldClock()
    writing = [True]
    settling = Settling(60, lambda: writing[0], clock)
    settling.changed()
    for _ in range(5):
        clock.move(61)
        assert not settling.take()
    writing[0] = False
    assert not settling.take(), "quiet for no time yet"
    clock.move(61)
    assert settling.take()


def test_what_failed_is_taken_again_after_a_pause() -> None:
    clock = HeldClock()
    settling = Settling(60, lambda: False, clock)
    settling.changed(600)
    clock.move(600)
    assert not settling.take()
    clock.move(60)
    assert settling.take()

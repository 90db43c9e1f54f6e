"""SIGTERM and Ctrl-C are a wish to stop; a second Ctrl-C ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from zimage_syncd.cli.signals import StopFlag
from zimage_syncd.model.failures import Stopped


@pytest.fixture
def flag() -> Iterator[StopFlag]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    flag = StopFlag()
    flag.listen()
    yield flag
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nobody_asked_and_work_goes_on(flag: StopFlag) -> None:
    flag.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noticed_at_the_next_check_and_told_at_once(flag: StopFlag, number: signal.Signals) -> None:
    told: list[str] = []
    flag.when_asked(lambda: told.append("service"))
    os.kill(os.getpid(), number)
    assert told == ["service"]
    for _ in range(2):
        with pytest.raises(Stopped):
            flag.check()


def test_a_second_ctrl_c_ends_at_once(flag: StopFlag) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_sigterm_stays_a_wish(flag: StopFlag) -> None:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
        flag.check()


def test_a_signal_that_comes_before_anybody_listens_is_told_then(flag: StopFlag) -> None:
    """A daemon that is ended while it starts: the wish was noticed by its first job alone, and it waited for more."""
    told: list[str] = []
    os.kill(os.getpid(), signal.SIGTERM)
    flag.when_asked(lambda: told.append("stop"))
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, flag._hang_up)
        flag.when_hung_up(lambda: told.append("first"))
        os.kill(os.getpid(), signal.SIGHUP)
        flag.when_hung_up(lambda: told.append("reload"))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert told == ["stop", "first", "reload"]

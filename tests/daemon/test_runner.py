"""The runner's queue, and the ways in which it is asked to end."""

from __future__ import annotations

import threading

import pytest

from tests.daemon.test_service import Log
from zimage_syncd.daemon.runner import Runner
from zimage_syncd.model.failures import DataDiskInUse, DataDiskTaken, Failure, Stopped


def test_a_stop_that_a_signal_brings_just_before_the_runner_waits_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen once: `run` outlived a SIGTERM that came right after a job had been put off."""
    runner = Runner({}, Log())
    wait = threading.Condition.wait
    ended = threading.Event()

    def wait_after_a_signal(condition: threading.Condition, timeout: float | None = None) -> bool:
        if condition is runner._changed:
            runner.stop()  # as a handler does: in the thread that is about to wait, and holds the lock
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", wait_after_a_signal)

    def work() -> None:
        runner.run()
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    assert ended.wait(10)


@pytest.mark.parametrize(
    ("failure", "event"),
    [
        (DataDiskTaken("/mnt/data", "held by b"), "job put off"),
        (DataDiskInUse("/mnt/data", "held by b"), "job put off"),
        (Stopped("test"), "job stopped on request"),
    ],
)
def test_a_job_that_another_host_ended_is_put_off_and_one_that_was_stopped_is_not(failure: Failure, event: str) -> None:
    def work() -> None:
        runner.stop()
        raise failure

    log = Log()
    runner = Runner({"work": work}, log)
    runner.submit("work")
    runner.run()
    assert [name for name, _ in log.events] == ["job started", event]


def test_a_job_that_gets_no_thread_says_what_to_do() -> None:
    def work() -> None:
        runner.stop()
        raise RuntimeError("can't start new thread")

    log = Log()
    runner = Runner({"work": work}, log)
    runner.submit("work")
    runner.run()
    name, fields = log.events[-1]
    assert (name, fields["code"]) == ("job failed", "ZS904")
    assert "TasksMax" in fields["remedy"]

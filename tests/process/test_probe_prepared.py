"""A probe that is started before its request: used once, by a request that it fits, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.shared_disk import wait_until
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.model.health_json import encode_result
from zimage_syncd.process.probe import ENTRY, ProbeProcess

REQUEST = HealthRequest(directory="/cache/x", layout="huggingface", repo="a/b", revision="main")
OTHER = replace(REQUEST, layout="modelscope")
ANSWER = encode_result(HealthResult(HealthOutcome.OK, HealthLevel.FILES))
TELLING = """
import os, sys
with open(PLACE, "a") as stream:
    stream.write(f"{os.getpid()} {os.environ.get('ZIMAGE_SYNCD_PROBE_AHEAD', '-')}\\n")
MORE
if sys.stdin.read():
    sys.stdout.buffer.write(ANSWER)
"""
"""Notes its number and what it was started ahead for; then waits for its request."""


class Never:
    def check(self) -> None:
        pass


class AtOnce:
    def check(self) -> None:
        raise Stopped("health", "a test asked for it")


Make = Callable[..., ProbeProcess]


@pytest.fixture
def starts(tmp_path: Path) -> Callable[[], list[tuple[int, str]]]:
    """What was started so far: the number of the process, and what it was started ahead for."""

    def read() -> list[tuple[int, str]]:
        place = tmp_path / "starts"
        lines = [line.split() for line in place.read_text().splitlines(keepends=True)] if place.exists() else []
        return [(int(pid), layout) for pid, layout in lines]

    return read


@pytest.fixture
def probe_that(tmp_path: Path) -> Make:
    """Makes a runner whose probe is such a script, with something more to do."""

    def make(more: str = "") -> ProbeProcess:
        script = tmp_path / "script.py"
        filled = TELLING.replace("PLACE", repr(str(tmp_path / "starts"))).replace("ANSWER", repr(ANSWER))
        script.write_text(filled.replace("MORE", more))
        return ProbeProcess(None, {}, program=("-S", str(script)))

    return make


def is_there(pid: int) -> bool:
    """Whether a process runs; it has to be reaped, too, by whoever started it."""
    return Path(f"/proc/{pid}").exists()


Starts = Callable[[], list[tuple[int, str]]]


def test_what_was_prepared_is_used_for_the_first_of_two_snapshots(probe_that: Make, starts: Starts) -> None:
    probe = probe_that()
    probe.prepare("huggingface")
    wait_until(lambda: len(starts()) == 1)
    probe.prepare("huggingface")
    for used in (1, 2):
        assert probe.run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
        assert len(starts()) == used
    assert [layout for _, layout in starts()] == ["huggingface", "-"]
    assert not any(is_there(pid) for pid, _ in starts())


def test_what_was_prepared_for_another_layout_waits_on(probe_that: Make, starts: Starts) -> None:
    probe = probe_that()
    probe.prepare("huggingface")
    wait_until(lambda: len(starts()) == 1)
    assert probe.run(OTHER, 60, Never()).outcome is HealthOutcome.OK
    assert [layout for _, layout in starts()] == ["huggingface", "-"]
    assert is_there(starts()[0][0])
    assert probe.run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
    assert len(starts()) == 2
    assert not any(is_there(pid) for pid, _ in starts())


def test_what_nobody_asked_is_ended_once(probe_that: Make, starts: Starts) -> None:
    probe = probe_that()
    probe.dismiss()
    probe.prepare("huggingface")
    wait_until(lambda: len(starts()) == 1)
    threads = threading.active_count()
    for _ in range(2):
        probe.dismiss()
        assert not is_there(starts()[0][0])
    wait_until(lambda: threading.active_count() == threads - 1)
    assert probe.run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
    assert [layout for _, layout in starts()] == ["huggingface", "-"]


def test_one_that_has_ended_is_replaced(probe_that: Make, starts: Starts) -> None:
    probe = probe_that("'ZIMAGE_SYNCD_PROBE_AHEAD' in os.environ and os._exit(9)")
    probe.prepare("huggingface")
    kept = probe._ahead
    assert kept is not None
    wait_until(lambda: not kept.is_running())
    assert probe.run(REQUEST, 60, Never()).outcome is HealthOutcome.OK
    assert len(starts()) == 2


def test_a_wish_to_stop_ends_the_prepared_one_that_was_asked(probe_that: Make, starts: Starts) -> None:
    probe = probe_that("import time; time.sleep(600)")
    probe.prepare("huggingface")
    wait_until(lambda: len(starts()) == 1)
    with pytest.raises(Stopped):
        probe.run(REQUEST, 60, AtOnce())
    assert not is_there(starts()[0][0])


def test_a_missing_interpreter_is_told_by_the_check_and_not_before() -> None:
    probe = ProbeProcess("/nonexistent/bin/python", {})
    probe.prepare("huggingface")
    # `auto` would be content with the files.
    asked = replace(REQUEST, level=HealthLevel.LOAD)
    assert probe.run(asked, 60, Never()).outcome is HealthOutcome.MISSING_EXTRA
    probe.prepare("huggingface")
    probe.dismiss()


def begun(pid: int) -> bool:
    """Whether a probe has asked the kernel to end it with its parent: right after that it lowers its priority."""
    return os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


def test_it_outlives_the_thread_that_prepared_it(tmp_path: Path) -> None:
    probe = ProbeProcess(None, os.environ, program=("-S", ENTRY))
    thread = threading.Thread(target=probe.prepare, args=("huggingface",))
    thread.start()
    thread.join()
    kept = probe._ahead
    assert kept is not None
    process = kept.process()
    assert process is not None
    wait_until(lambda: begun(process.pid))
    time.sleep(0.2)
    result = probe.run(replace(REQUEST, directory=str(tmp_path / "gone")), 60, Never())
    assert (result.outcome, "ahead" in dict(result.timings_s)) == (HealthOutcome.FILES_DAMAGED, True)


def test_it_ends_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import os, sys, time\n"
        "from zimage_syncd.process.probe import ENTRY, ProbeProcess\n"
        "probe = ProbeProcess(None, os.environ, program=('-S', ENTRY))\n"
        "probe.prepare('huggingface')\n"
        f"open({str(note)!r}, 'w').write(f'{{probe._ahead.process().pid}}\\n')\n"
        "time.sleep(600)\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: note.exists() and note.read_text().endswith("\n"))
        pid = int(note.read_text())
        wait_until(lambda: begun(pid))
        assert is_there(pid)
    finally:
        daemon.kill()
        daemon.wait()
    # Whoever adopts it may take its time to reap it.
    wait_until(lambda: not is_there(pid) or " Z " in Path(f"/proc/{pid}/stat").read_text())

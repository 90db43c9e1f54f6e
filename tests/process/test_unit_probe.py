"""The health check as a unit: what the service manager is asked for, and what becomes of its answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.shared_disk import wait_until
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest
from zimage_syncd.process.probe import OOM_KILLED, ProbeProcess
from zimage_syncd.process.unit_probe import UnitProbe, environment_file, open_probe

REQUEST = HealthRequest(
    directory="/no/such/cache", layout="huggingface", repo="a/b", revision="main", level=HealthLevel.FILES
)
SYSTEMCTL = """#!/bin/sh
# Does with zimage-syncd-probe@.service what systemd does with it.
instance=${2#*@}; instance=${instance%.service}; place=DIRECTORY/$instance
echo "$1 $2" >> DIRECTORY/asked
case $1 in
start)
    set -a; . "$place.environment"; set +a
    "$ZIMAGE_SYNCD_PROBE_PYTHON" "$ZIMAGE_SYNCD_PROBE_PROGRAM" < "$place.request" > "$place.answer" 2> "$place.errors" &
    echo $! > DIRECTORY/pid
    wait $! || { echo "Job for $2 failed." >&2; exit 1; } ;;
stop)
    kill "$(cat DIRECTORY/pid)" ;;
esac
"""


class Never:
    def check(self) -> None:
        pass


class When:
    """Asks to stop as soon as a file is there."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def check(self) -> None:
        if self.place.exists() and self.place.read_text().endswith("\n"):
            raise Stopped("health", "a test asked for it")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory, and a service manager that works in it."""
    room = tmp_path / "run"
    (tmp_path / "bin").mkdir()
    room.mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(SYSTEMCTL.replace("DIRECTORY", str(room)))
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return room


def program(tmp_path: Path, text: str) -> str:
    place = tmp_path / "python"
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(0o755)
    return str(place)


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """This Python without its packages: what is tried with it does not need the seconds that importing torch takes."""
    return program(tmp_path, f'exec {sys.executable} -S "$@"')


def left_over(room: Path) -> set[str]:
    return {name for name in os.listdir(room) if name not in {"asked", "pid"}}


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_the_real_probe_answers_through_files_that_are_removed(room: Path) -> None:
    probe = UnitProbe(sys.executable, os.environ, "zimage-syncd-probe", str(room))
    result = probe.run(REQUEST, 60, Never())
    assert result.level is HealthLevel.FILES
    assert result.outcome not in {HealthOutcome.CRASHED, HealthOutcome.TIMEOUT}, result.detail
    (asked,) = (room / "asked").read_text().splitlines()
    assert asked.startswith("start zimage-syncd-probe@")
    assert left_over(room) == set()


def test_a_unit_that_takes_too_long_is_stopped(room: Path, tmp_path: Path) -> None:
    python = program(tmp_path, "echo importing torch >&2; exec sleep 100")
    result = UnitProbe(python, {}, "zimage-syncd-probe", str(room)).run(REQUEST, 0.5, Never())
    assert result.outcome is HealthOutcome.TIMEOUT
    assert result.detail == "no result after 0.5 s; it last said: importing torch"
    start, stop = (line.split() for line in (room / "asked").read_text().splitlines())
    assert (start[0], stop[0], start[1]) == ("start", "stop", stop[1])
    assert gone(int((room / "pid").read_text()))
    assert left_over(room) == set()


def test_a_wish_to_stop_stops_the_unit(room: Path, tmp_path: Path) -> None:
    python = program(tmp_path, "exec sleep 100")
    with pytest.raises(Stopped):
        UnitProbe(python, {}, "zimage-syncd-probe", str(room)).run(REQUEST, 60, When(room / "pid"))
    assert gone(int((room / "pid").read_text()))
    assert left_over(room) == set()


def test_a_unit_that_fails_is_told_with_what_was_said_last(room: Path, tmp_path: Path) -> None:
    python = program(tmp_path, "echo CUDA error >&2; exit 9")
    result = UnitProbe(python, {}, "zimage-syncd-probe", str(room)).run(REQUEST, 60, Never())
    assert result.outcome is HealthOutcome.CRASHED
    assert result.detail.startswith("Job for zimage-syncd-probe@")
    assert result.detail.endswith("failed.; it last said: CUDA error")


def test_a_unit_that_the_kernel_ended_for_want_of_memory_is_told_as_that(room: Path, tmp_path: Path) -> None:
    """The sentence is systemctl's own (systemd 252, its spelling included)."""
    systemctl = tmp_path / "bin/systemctl"
    said = "Job for $2 failed because of an out-of-memory (OOM) siutation."
    systemctl.write_text(systemctl.read_text().replace("Job for $2 failed.", said))
    python = program(tmp_path, "echo loading >&2; exit 9")
    result = UnitProbe(python, {}, "zimage-syncd-probe", str(room)).run(REQUEST, 60, Never())
    assert (result.outcome, result.detail) == (HealthOutcome.OUT_OF_MEMORY, f"{OOM_KILLED}; it last said: loading")


def test_an_answer_that_is_none_is_a_crash(room: Path, tmp_path: Path) -> None:
    result = UnitProbe(program(tmp_path, "echo hello"), {}, "zimage-syncd-probe", str(room)).run(REQUEST, 60, Never())
    assert result.outcome is HealthOutcome.CRASHED


def test_a_missing_interpreter_is_the_missing_extra(room: Path) -> None:
    result = UnitProbe("/no/such/python", {}, "zimage-syncd-probe", str(room)).run(REQUEST, 60, Never())
    assert result.outcome is HealthOutcome.MISSING_EXTRA


def test_a_machine_without_systemctl_is_told(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = UnitProbe(sys.executable, {}, "zimage-syncd-probe", str(room)).run(REQUEST, 60, Never())
    assert result.outcome is HealthOutcome.CRASHED
    assert "systemctl" in result.detail
    assert left_over(room) == set()


def test_variables_come_through_as_they_are_and_secrets_do_not_come(tmp_path: Path) -> None:
    odd = {"TMPDIR": "/a \"b\" $HOME `id` \\n 'c'", "CUDA_VISIBLE_DEVICES": "0", "LANG": "two\nlines"}
    place = tmp_path / "environment"
    place.write_bytes(environment_file(odd))
    script = f'. {place}; printf "%s|%s|%s" "$TMPDIR" "$CUDA_VISIBLE_DEVICES" "$LANG"'
    said = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True, env={}).stdout
    assert said == f"{odd['TMPDIR']}|0|"
    probe = UnitProbe(sys.executable, {"AWS_SECRET_ACCESS_KEY": "secret", "PATH": "/bin"}, "t", "/run/x")
    assert b"secret" not in environment_file(probe._environment)


def test_it_is_a_unit_only_where_the_daemon_s_own_unit_says_so() -> None:
    named = {"ZIMAGE_SYNCD_PROBE_UNIT": "zimage-syncd-probe", "RUNTIME_DIRECTORY": "/run/zimage-syncd"}
    assert isinstance(open_probe(sys.executable, named), UnitProbe)
    for name in named:
        assert isinstance(open_probe(sys.executable, {**named, name: ""}), ProbeProcess)


WAITING = 'echo "for $ZIMAGE_SYNCD_PROBE_AHEAD"; exec head -n 1'
"""A program that answers what it was started ahead for, and its request."""


def test_a_unit_that_was_prepared_is_given_the_request_and_the_next_one_is_started_anew(room: Path, bare: str) -> None:
    probe = UnitProbe(bare, os.environ, "zimage-syncd-probe", str(room))
    probe.prepare("huggingface")
    probe.prepare("huggingface")
    wait_until((room / "pid").exists)
    fifo = next(room.glob("*.request"))
    assert fifo.is_fifo()
    assert fifo.stat().st_mode & 0o777 == 0o600
    results = [probe.run(REQUEST, 60, Never()) for _ in range(2)]
    assert "ahead" in dict(results[0].timings_s)
    assert "ahead" not in dict(results[1].timings_s)
    assert {result.outcome for result in results} == {HealthOutcome.FILES_DAMAGED}
    asked = [line.split()[0] for line in (room / "asked").read_text().splitlines()]
    assert asked == ["start", "start"]
    assert left_over(room) == set()


def test_a_request_that_comes_before_the_unit_reads_is_not_lost(room: Path, tmp_path: Path, bare: str) -> None:
    """systemd opens the FIFO when it gets to it; what was written to one that nobody has open would be gone."""
    late = (tmp_path / "bin/systemctl").read_text().replace("start)", "start)\n    sleep 0.5")
    (tmp_path / "bin/systemctl").write_text(late)
    probe = UnitProbe(bare, os.environ, "zimage-syncd-probe", str(room))
    probe.prepare("huggingface")
    assert probe.run(REQUEST, 60, Never()).outcome is HealthOutcome.FILES_DAMAGED
    assert len((room / "asked").read_text().splitlines()) == 1


def test_a_prepared_unit_that_nobody_asked_is_stopped(room: Path, tmp_path: Path) -> None:
    probe = UnitProbe(program(tmp_path, WAITING), {}, "zimage-syncd-probe", str(room))
    probe.prepare("huggingface")
    wait_until(lambda: (room / "pid").exists() and (room / "pid").read_text().endswith("\n"))
    for _ in range(2):
        probe.dismiss()
    assert [line.split()[0] for line in (room / "asked").read_text().splitlines()] == ["start", "stop"]
    assert gone(int((room / "pid").read_text()))
    assert left_over(room) == set()


def test_a_unit_that_was_prepared_for_another_layout_waits_on(room: Path, tmp_path: Path) -> None:
    probe = UnitProbe(program(tmp_path, WAITING), {}, "zimage-syncd-probe", str(room))
    probe.prepare("modelscope")
    assert "is not JSON" in probe.run(REQUEST, 60, Never()).detail
    assert len({line.split()[1] for line in (room / "asked").read_text().splitlines()}) == 2
    assert next(room.glob("*.request")).is_fifo()
    probe.dismiss()
    assert left_over(room) == set()


def test_a_prepared_unit_that_has_ended_is_replaced(room: Path, tmp_path: Path) -> None:
    script = '[ -z "$ZIMAGE_SYNCD_PROBE_AHEAD" ] || exit 9; cat >&2; exit 8'
    probe = UnitProbe(program(tmp_path, script), {}, "zimage-syncd-probe", str(room))
    probe.prepare("huggingface")
    ahead = probe._ahead
    assert ahead is not None
    wait_until(lambda: not ahead.is_running())
    assert '"repo": "a/b"' in probe.run(REQUEST, 60, Never()).detail
    assert left_over(room) == set()


def test_a_daemon_that_is_killed_leaves_no_unit_waiting_for_a_request(room: Path, bare: str) -> None:
    """Its end of the FIFO closes, whatever systemd does then."""
    code = (
        "import os, time\n"
        "from zimage_syncd.process.unit_probe import UnitProbe\n"
        f"UnitProbe({bare!r}, os.environ, 'zimage-syncd-probe', {str(room)!r}).prepare('huggingface')\n"
        "time.sleep(600)\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: (room / "pid").exists() and (room / "pid").read_text().endswith("\n"))
        probe = int((room / "pid").read_text())
        time.sleep(0.5)
        os.kill(probe, 0)
    finally:
        daemon.kill()
        daemon.wait()
    assert gone(probe)


def test_a_machine_without_systemctl_prepares_nothing(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    probe = UnitProbe(sys.executable, {}, "zimage-syncd-probe", str(room))
    probe.prepare("huggingface")
    probe.dismiss()
    assert left_over(room) == set()

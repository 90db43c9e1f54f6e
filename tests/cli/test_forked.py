"""What most tests of the command line are run by does what a new process does."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.machine import Machine
from tests.support.shared_disk import wait_until


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["--json", "snapshots"], ["path", "org/name"], ["path"], ["--version"], ["verify", "--no"]],
)
def test_output_and_exit_code_are_those_of_a_new_process(machine: Machine, arguments: list[str]) -> None:
    machine.fill()
    environment = machine.environment()
    command = machine.command(*arguments)
    here = forked.run(command[3:], environment, machine.root)
    new = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=machine.root,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    said, expected = (_without_free_space(output) for output in (here.stdout, new.stdout))
    assert (here.returncode, said, here.stderr) == (new.returncode, expected, new.stderr)


def _without_free_space(output: str) -> str:
    """Other tests write to the same disk meanwhile."""
    return re.sub(r"[\d.]+ \w+ of [\d.]+ \w+ free", "some free", output)


def test_the_environment_is_the_one_that_was_given(machine: Machine) -> None:
    machine.run("snapshots", config=False, expected=3)
    machine.run("snapshots", config=False, ZIMAGE_SYNCD_CONFIG=str(machine.config))
    machine.run("snapshots", config=False, expected=3)


def test_what_an_interpreter_reads_at_its_start_needs_a_new_one(machine: Machine) -> None:
    environment = machine.environment()
    assert forked.can_fork(environment)
    assert not forked.can_fork({**environment, "TZ": "Asia/Shanghai"})
    assert not forked.can_fork({**environment, "LC_ALL": "C"})


def test_several_commands_run_at_one_time(machine: Machine) -> None:
    """The first one waits for its interpreter, which waits for the second one's end."""
    machine.fill()
    python, begun, over = (machine.root / name for name in ("python", "begun", "over"))
    python.write_text(f"#!/bin/sh\ntouch {begun}\nwhile [ ! -e {over} ]; do sleep 0.02; done\n")
    python.chmod(0o755)
    machine.write_config(f'[health]\npython = "{python}"')
    thread = threading.Thread(target=machine.run, args=("health",), kwargs={"expected": 2})
    thread.start()
    wait_until(begun.exists)
    machine.run("snapshots")
    assert thread.is_alive()
    over.touch()
    thread.join(60)
    assert not thread.is_alive()

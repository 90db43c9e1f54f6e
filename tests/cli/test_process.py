"""The command as a process: quick help, quiet ends of pipes, terminals without Unicode, secrets in addresses."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import Machine
from zimage_syncd import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_told(machine: Machine) -> None:
    assert machine.run("--version", config=False).stdout == f"zimage-syncd, version {__version__}\n"


def test_help_waits_for_no_job(machine: Machine) -> None:
    """What jobs, configuration, progress and logs need takes longer to import than the help to print."""
    code = "import sys; from zimage_syncd.cli.app import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    loaded = set(done.stderr.split())
    slow = {"msgspec", "rich", "structlog", "boto3", "fsspec", "croniter", "sqlite3", "zimage_syncd.model.manifest"}
    assert loaded & slow == set()
    assert "zimage_syncd.cli.restore" in loaded


WITHOUT_STORES = [["verify", "org/name"], ["verify", "org/name", "--deep"], ["path", "org/name"], ["env"]]


@pytest.mark.parametrize("arguments", WITHOUT_STORES, ids=" ".join)
def test_what_needs_no_store_waits_for_no_store(machine: Machine, arguments: list[str]) -> None:
    machine.fill()
    machine.run("backup")
    machine.write_config(store='url = "s3://bucket"\nendpoint_url = "http://127.0.0.1:1"\nregion = "us-east-1"')
    words = ["--config", str(machine.config), *arguments]
    code = (
        f"import sys; from zimage_syncd.cli.app import run; c = run({words!r}); print(c, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT, env=machine.environment()
    )
    exit_code, *loaded = done.stderr.splitlines()[-1].split()
    assert exit_code == "0", done.stderr
    slow = {"rich", "structlog", "botocore", "urllib3", "requests", "fsspec", "apscheduler", "croniter", "watchdog"}
    assert slow.intersection(loaded) == set()
    assert "zimage_syncd.services" in loaded


def test_a_store_that_cannot_be_opened_stops_a_repair_but_no_verification(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    machine.write_config(store='url = "s3://bucket"\ncredentials_file = "/no/such/file"')
    assert "no damage found" in machine.run("verify", "org/name", "--deep").stdout
    finished = machine.run("verify", "org/name", "--deep", "--repair", expected=1)
    assert "the credentials cannot be read" in finished.stderr
    assert finished.stdout == ""


GONE = [["--help"], ["status"], ["--json", "status"], ["--json", "nonsense"], ["--json", "path", "no/such"]]


@pytest.mark.parametrize("arguments", GONE, ids=" ".join)
def test_a_reader_that_has_gone_is_no_error_to_tell(machine: Machine, arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        machine.command(*arguments),
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=machine.root,
        env={**machine.environment(), "PYTHONPATH": str(ROOT)},
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 1


@pytest.mark.parametrize("where", ["> /dev/full", ">&-", ">&- 2>&-"])
@pytest.mark.parametrize("arguments", [["status"], ["--json", "status"], ["--json", "path", "no/such"]], ids=" ".join)
def test_an_output_that_takes_nothing_is_told_as_such(machine: Machine, arguments: list[str], where: str) -> None:
    done = subprocess.run(
        f"{shlex.join(machine.command(*arguments))} {where}",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        cwd=machine.root,
        env={**machine.environment(), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    if "2>&-" not in where:
        first, second = done.stderr.splitlines()
        assert first.startswith("error ZS903: the result could not be written: standard output: ")
        assert second.startswith("  remedy: ")


def test_a_terminal_without_unicode_gets_escapes(machine: Machine) -> None:
    machine.write_config('[stores.other]\nurl = "file:///nowhere/ü"\n')
    said = machine.run("status", expected=2, PYTHONIOENCODING="ascii").stdout
    assert "file:///nowhere/\\xfc" in said


def test_a_failure_of_the_configuration_is_one_json_document(machine: Machine) -> None:
    machine.write_config("[health]\nsize_px = 500\n")
    document = machine.json("status", expected=3)
    assert document["schema"] == "zimage-syncd/error/1"
    assert document["problem"]["code"] == "ZS003"
    assert document["subject"] == str(machine.config)
    assert document["detail"] == "health.size_px: expected a multiple of 16, found 500"


@pytest.mark.parametrize("address", ["sftp://user:verysecret@127.0.0.1:1/x", "s3://user:verysecret@bucket/x"])
def test_a_password_in_an_address_is_never_shown(machine: Machine, address: str) -> None:
    machine.write_config(store=f'url = "{address}"')
    machine.fill()
    for arguments in (["status"], ["--json", "status"], ["snapshots"], ["restore"], ["-v", "restore"]):
        finished = subprocess.run(
            machine.command(*arguments),
            check=False,
            capture_output=True,
            text=True,
            cwd=machine.root,
            env={**machine.environment(), "PYTHONPATH": str(ROOT)},
        )
        assert finished.returncode in {0, 1, 2, 3}
        assert "verysecret" not in finished.stdout + finished.stderr, arguments


def test_an_empty_variable_restores_nothing_into_the_working_directory(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    before = sorted(os.listdir(machine.root))
    finished = machine.run("restore", "--to", "", expected=3)
    assert "is a variable not set?" in finished.stderr
    assert sorted(os.listdir(machine.root)) == before
    document = json.loads(machine.run("--json", "restore", "--to", "", expected=3).stdout)
    assert document["problem"]["code"] == "ZS001"

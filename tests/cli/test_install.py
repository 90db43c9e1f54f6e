"""`install` and `uninstall` as processes, where nothing may be installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.machine import Machine
from zimage_syncd.cli.app import run
from zimage_syncd.model import installation_problems, problems


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_place_on_the_system_disk_is_refused_and_nothing_is_written(machine: Machine) -> None:
    document = json.loads(machine.run("--json", "install", expected=1).stdout)
    assert document["problem"]["code"] == installation_problems.PLACE_NOT_LASTING.code
    assert "which a reset takes along" in document["detail"]
    assert not (machine.cache / ".zimage-syncd/install").exists()
    assert not (machine.cache / ".zimage-syncd/install.json").exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_only_root_installs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("ZIMAGE_SYNCD_CONFIG", str(machine.config))
    assert run([command]) == 1
    assert "error ZS601: only root can do this" in capsys.readouterr().err


def test_settings_that_are_in_no_file_cannot_be_kept(machine: Machine, tmp_path: Path) -> None:
    machine.config.unlink()
    done = machine.run("install", expected=None, config=False, ZIMAGE_SYNCD__CACHE__DIR=str(tmp_path / "cache"))
    expected = problems.USAGE if os.geteuid() == 0 else installation_problems.ROOT_NEEDED
    assert f"error {expected.code}" in done.stderr


def test_status_tells_of_a_configuration_that_is_another_one_than_was_installed(machine: Machine) -> None:
    version = machine.cache / ".zimage-syncd/install/versions/0001-1.0-abc"
    version.mkdir(parents=True)
    about = {"program": "1.0-abc", "program_sha256": "", "script_sha256": "1", "config": str(machine.config)}
    (version / "version.json").write_text(json.dumps({**about, "config_sha256": "0" * 64}))
    machine.fill()
    codes = {finding["problem"]["code"] for finding in machine.json("status", expected=2)["status"]["findings"]}
    assert installation_problems.INSTALLATION_OUTDATED.code in codes
    assert installation_problems.START_LINE_OLD.code not in codes

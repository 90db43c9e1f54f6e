"""The units: systemd takes them, they are as closed as they can be, and they say what the program needs."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from zimage_syncd.process.unit_probe import UNIT_VARIABLE

UNITS = Path(__file__).parents[1] / "systemd"
MOST_EXPOSED = {
    "zimage-syncd.service": 2.3,
    "zimage-syncd-verify.service": 2.3,
    "zimage-syncd-probe@.service": 3.0,
}
"""systemd-analyze(1), `security`: 0 is closed, 10 is open."""


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they would be installed; the program itself is not there, which systemd would complain about."""
    for unit in (path for path in UNITS.iterdir() if path.suffix in {".service", ".timer"}):
        text = re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return tmp_path


def settings(name: str) -> configparser.ConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.iterdir() if path.suffix in {".service", ".timer"}))
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, analyze: str, installed: Path) -> None:
    command = [analyze, "verify", "--man=no", str(installed / name)]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:"}
    verified = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_systemd_takes_the_example_of_a_drop_in_with_all_that_it_offers(analyze: str, installed: Path) -> None:
    drop_ins = installed / "zimage-syncd.service.d"
    drop_ins.mkdir()
    text = re.sub(r"^#(?=[A-Z]\w+=)", "", (UNITS / "local.conf").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert "\nReadWritePaths=" in text
    (drop_ins / "local.conf").write_text(text, encoding="utf-8")
    command = [analyze, "verify", "--man=no", str(installed / "zimage-syncd.service")]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:"}
    verified = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(MOST_EXPOSED))
def test_a_unit_is_as_closed_as_its_work_allows(name: str, analyze: str, installed: Path) -> None:
    limit = round(MOST_EXPOSED[name] * 10)
    command = [analyze, "security", "--offline=true", f"--threshold={limit}", "--no-pager", str(installed / name)]
    rated = subprocess.run(command, check=False, capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout + rated.stderr
    (exposure,) = re.findall(r"exposure level for \S+: ([\d.]+)", rated.stdout)
    assert float(exposure) <= MOST_EXPOSED[name]


def test_the_daemon_s_unit_names_the_template_of_the_health_check() -> None:
    environment = settings("zimage-syncd.service")["Service"]["Environment"]
    name, _, template = environment.partition("=")
    assert name == UNIT_VARIABLE
    probe = settings(f"{template}@.service")["Service"]
    directory = f"/run/{settings('zimage-syncd.service')['Service']['RuntimeDirectory']}"
    for kind, setting in (("request", "StandardInput"), ("answer", "StandardOutput"), ("errors", "StandardError")):
        assert probe[setting] == f"file:{directory}/%i.{kind}"
    assert probe["EnvironmentFile"] == f"{directory}/%i.environment"


@pytest.mark.parametrize("name", ["zimage-syncd.service", "zimage-syncd-verify.service"])
def test_the_sandbox_hides_no_evidence(name: str) -> None:
    """With ProcSubset=pid there is no boot_id: every start was one of the machine, every lease another host's."""
    assert settings(name)["Service"].get("ProcSubset", "all") == "all"


def test_the_daemon_waits_for_no_probe_that_waits_for_the_daemon() -> None:
    assert "zimage-syncd.service" not in settings("zimage-syncd-probe@.service")["Unit"]["After"]


def test_systemd_takes_the_lists_of_users_and_files(tmp_path: Path) -> None:
    for program, name, place in (
        ("systemd-sysusers", "sysusers.conf", "usr/lib/sysusers.d"),
        ("systemd-tmpfiles", "tmpfiles.conf", "usr/lib/tmpfiles.d"),
    ):
        if shutil.which(program) is None or os.geteuid():
            pytest.skip(f"needs root and {program}")
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / "etc").mkdir(exist_ok=True)
        shutil.copy(UNITS / name, tmp_path / place / "zimage-syncd.conf")
        option = ["--create"] if program == "systemd-tmpfiles" else []
        taken = subprocess.run(
            [program, f"--root={tmp_path}", *option], check=False, capture_output=True, text=True, cwd="/"
        )
        assert taken.returncode == 0, taken.stderr
    assert "zimage-syncd:" in (tmp_path / "etc/group").read_text()
    assert (tmp_path / "etc/zimage-syncd").stat().st_mode & 0o777 == 0o750

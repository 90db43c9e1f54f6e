"""The health check with another environment's Python: one that lacks torch, one that is gone, one that has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import zimage_syncd
from tests.support.safetensors_edit import write_safetensors
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest
from zimage_syncd.process.probe import ProbeProcess
from zimage_syncd.process.unit_probe import UnitProbe

ROOT = os.path.dirname(os.path.dirname(zimage_syncd.__file__))
TEXT = "probe extra is not installed: pip install 'zimage-syncd[probe]'"
MORE = [HealthLevel.LOAD, HealthLevel.GENERATE]


class Never:
    def check(self) -> None:
        pass


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a virtual environment with nothing in it."""
    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    return str(place / "bin/python")


@pytest.fixture
def asked(tmp_path: Path) -> HealthRequest:
    """A request for a snapshot whose files are good."""
    (tmp_path / "snapshot/vae").mkdir(parents=True)
    write_safetensors(str(tmp_path / "snapshot/vae/model.safetensors"), {"w": ("F32", [1], bytes(4))})
    (tmp_path / "snapshot/vae/config.json").write_text("{}")
    index = {"_class_name": "ZImagePipeline", "vae": ["diffusers", "AutoencoderKL"]}
    (tmp_path / "snapshot/model_index.json").write_text(json.dumps(index))
    return HealthRequest(str(tmp_path / "snapshot"), "huggingface", "a/b", "main")


def test_an_environment_without_torch_checks_files_and_says_what_is_missing_where(
    bare: str, asked: HealthRequest
) -> None:
    result = ProbeProcess(bare, os.environ).run(asked, 60, Never())
    assert (result.outcome, result.level) == (HealthOutcome.OK, HealthLevel.FILES)
    home = os.path.dirname(os.path.dirname(bare))
    assert result.detail == f"only files were checked: {TEXT}; not installed in {home}: torch, diffusers, transformers"


@pytest.mark.parametrize("level", MORE)
def test_what_needs_torch_is_missing_extra_without_it(bare: str, asked: HealthRequest, level: HealthLevel) -> None:
    result = ProbeProcess(bare, os.environ).run(replace(asked, level=level), 60, Never())
    assert result.outcome is HealthOutcome.MISSING_EXTRA
    assert result.detail.startswith(f"{TEXT}; not installed in ")


def in_a_unit(tmp_path: Path, python: str, monkeypatch: pytest.MonkeyPatch, before: str = ":") -> UnitProbe:
    """A service manager that does with zimage-syncd-probe@.service what systemd does with it, `before` first."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        "#!/bin/sh\n"
        f'place={tmp_path}/$(echo "$2" | sed "s/.*@//; s/.service//")\n. "$place.environment"\n{before}\n'
        '/usr/bin/env "$ZIMAGE_SYNCD_PROBE_PYTHON" "$ZIMAGE_SYNCD_PROBE_PROGRAM"'
        ' < "$place.request" > "$place.answer" 2> "$place.errors" || {\n'
        '    echo "Job for $2 failed because the control process exited with error code." >&2; exit 1\n}\n'
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return UnitProbe(python, os.environ, "zimage-syncd-probe", str(tmp_path))


def broken(tmp_path: Path, status: int) -> str:
    place = tmp_path / "python"
    place.write_text(f"#!/bin/sh\necho libpython3.11.so.1.0: cannot open shared object file >&2\nexit {status}\n")
    place.chmod(0o755)
    return str(place)


@pytest.mark.parametrize("kind", ["gone", "library gone", "too old", "in a unit"])
def test_where_the_interpreter_was_reset_away_auto_checks_files_with_its_own(
    tmp_path: Path, asked: HealthRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = {"library gone": broken(tmp_path, 127), "too old": broken(tmp_path, 5)}.get(kind, "/gone/bin/python")
    probe: ProbeProcess | UnitProbe = ProbeProcess(python, os.environ)
    if kind == "in a unit":
        probe = in_a_unit(tmp_path, python, monkeypatch)
    result = probe.run(asked, 60, Never())
    assert (result.outcome, result.level) == (HealthOutcome.OK, HealthLevel.FILES)
    assert result.detail.startswith(f"only files were checked, with {sys.executable}: ")
    assert (python if python.startswith("/gone") else "the interpreter cannot be used") in result.detail
    assert result.checked_files == 3


FOREIGN = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x02\0\xff\xf0\x01".ljust(48, b"\0")
"""The header of a program for a kind of machine that there is none of (e_machine in elf(5))."""

UNSTARTABLE = {
    "no permission": "Permission denied; make it executable, on a file system that is not mounted noexec",
    "another machine's": "Exec format error; it is of another kind of machine, or no program: name one of this machine",
    "its own interpreter gone": "No such file or directory",
    "only in the unit": "the health check's unit cannot start it (/usr/bin/env: ",
}


@pytest.mark.parametrize("level", [HealthLevel.AUTO, HealthLevel.LOAD])
@pytest.mark.parametrize(
    ("kind", "where"),
    [*((kind, "in a unit") for kind in UNSTARTABLE), *((kind, "as a child") for kind in list(UNSTARTABLE)[:-1])],
)
def test_an_interpreter_that_is_there_and_cannot_be_started_is_named_with_the_remedy(
    tmp_path: Path, asked: HealthRequest, kind: str, where: str, level: HealthLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a unit it was `crashed`: env(1) fails there, and all that systemd tells is that the job failed."""
    python = tmp_path / "python"
    content = {"another machine's": FOREIGN, "its own interpreter gone": b"#!/gone\n"}
    python.write_bytes(content.get(kind, b"#!/bin/sh\n"))
    python.chmod(0o644 if kind == "no permission" else 0o755)
    probe: ProbeProcess | UnitProbe = ProbeProcess(str(python), os.environ)
    if where == "in a unit":
        hidden = f"chmod 644 {python}; trap 'chmod 755 {python}' EXIT"
        before = hidden if kind == "only in the unit" else ":"
        probe = in_a_unit(tmp_path, str(python), monkeypatch, before)
    result = probe.run(replace(asked, level=level), 60, Never())
    assert f"{python}: {UNSTARTABLE[kind]}" in result.detail
    if level is HealthLevel.AUTO:
        assert (result.outcome, result.level, result.checked_files) == (HealthOutcome.OK, HealthLevel.FILES, 3)
        assert result.detail.startswith(f"only files were checked, with {sys.executable}: ")
    else:
        assert (result.outcome, result.level) == (HealthOutcome.MISSING_EXTRA, level)


@pytest.mark.parametrize("level", MORE)
def test_what_was_asked_for_by_name_is_missing_extra_with_the_interpreter_named(
    asked: HealthRequest, level: HealthLevel
) -> None:
    result = ProbeProcess("/gone/bin/python", os.environ).run(replace(asked, level=level), 60, Never())
    assert (result.outcome, result.detail) == (
        HealthOutcome.MISSING_EXTRA,
        "/gone/bin/python: No such file or directory",
    )


def test_damaged_files_are_told_all_the_same(asked: HealthRequest) -> None:
    os.truncate(os.path.join(asked.directory, "vae/model.safetensors"), 9)
    result = ProbeProcess("/gone/bin/python", os.environ).run(asked, 60, Never())
    assert result.outcome is HealthOutcome.FILES_DAMAGED


@pytest.mark.probe
def test_an_installation_without_torch_draws_with_the_environment_that_has_it(
    bare: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("torch")
    import blake3

    from tests.support.tiny_pipeline import shared_pipeline

    model = shared_pipeline(tmp_path_factory)
    # What the program itself needs on the way to the probe, and nothing else of this environment.
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "blake3").symlink_to(os.path.dirname(blake3.__file__))
    script = tmp_path / "check.py"
    script.write_text(
        "import importlib.util, os\n"
        "from zimage_syncd.model.health import HealthLevel, HealthRequest\n"
        "from zimage_syncd.process.probe import ProbeProcess\n"
        "class Never:\n    def check(self): pass\n"
        f"asked = HealthRequest({model!r}, 'huggingface', 'a/b', 'main', HealthLevel.GENERATE, 'cpu', 64, 1)\n"
        f"result = ProbeProcess({sys.executable!r}, os.environ).run(asked, 120, Never())\n"
        "print(importlib.util.find_spec('torch'), result.outcome, result.level, result.placement)\n"
    )
    said = subprocess.run(
        [bare, str(script)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{packages}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout == "None ok generate cpu\n", said.stderr

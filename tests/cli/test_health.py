"""`health` as a command, with another environment's interpreter, and while others use the GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fake_nvml
from tests.support.caches import hf_snapshot
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files

TEXT = "probe extra is not installed: pip install 'zimage-syncd[probe]'"


def test_without_torch_there_auto_is_files_and_more_is_told_with_the_remedy(machine: Machine, tmp_path: Path) -> None:
    hf_snapshot(machine.cache, pipeline_files())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    machine.write_config(f'[health]\npython = "{tmp_path}/bare/bin/python"\n')
    (entry,) = machine.json("health")["results"]
    assert (entry["result"]["outcome"], entry["result"]["level"]) == ("ok", "files")
    assert TEXT in entry["result"]["detail"]
    done = machine.run("health", "--level", "generate", expected=2)
    assert TEXT in done.stdout
    assert "ZS501" in done.stdout


@pytest.mark.probe
@pytest.mark.parametrize("policy", ["skip", "wait"])
def test_a_gpu_that_others_use_is_busy_and_exit_code_75(machine: Machine, tmp_path: Path, policy: str) -> None:
    pytest.importorskip("torch")
    hf_snapshot(machine.cache, pipeline_files())
    card = "Card(used_bytes=20 * GIB, compute=[(4194305, 19 * GIB)])"
    source = Path(fake_nvml.__file__).read_text()
    (tmp_path / "pynvml.py").write_text(
        f"{source}\nimport sys\n_fake = FakeNvml({card})\n_fake.NVMLError = NVMLError\nsys.modules[__name__] = _fake\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    machine.write_config(f'[health]\npython = "{python}"\nwhen_busy = "{policy}"\ntimeout_s = 4\n')
    (entry,) = machine.json("health", expected=75)["results"]
    assert entry["result"]["outcome"] == "gpu_busy"
    assert "process 4194305 holds 20.4 GB" in entry["result"]["detail"]
    assert entry["result"]["detail"].endswith("waited 4 s") is (policy == "wait")

"""The probe's own process on a machine whose GPU others use. NVML is faked at its module, in the probe's own path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zimage_syncd
from tests.support import fake_nvml
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, WhenBusy
from zimage_syncd.model.health_json import decode_result, encode_request

pytestmark = pytest.mark.probe

pytest.importorskip("torch")

ENTRY = os.path.join(os.path.dirname(zimage_syncd.__file__), "probe", "__main__.py")
BUSY = "Card(used_bytes=20 * GIB, compute=[(4194305, 19 * GIB)])"


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A directory with a `pynvml` that tells of a card that somebody uses; it never touches torch."""
    place = tmp_path / "driver"
    place.mkdir()
    source = Path(fake_nvml.__file__).read_text()
    functions = f"import sys\n_fake = FakeNvml({BUSY})\n_fake.NVMLError = NVMLError\nsys.modules[__name__] = _fake\n"
    (place / "pynvml.py").write_text(f"{source}\n{functions}")
    return place


def probe(driver: Path, request_: HealthRequest, *before: str) -> tuple[HealthResult, bool]:
    """The result, and whether torch was imported for it."""
    environment = {**os.environ, "PYTHONPATH": str(driver), "PYTHONPROFILEIMPORTTIME": "1"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [*before, sys.executable, ENTRY],
        input=encode_request(request_),
        capture_output=True,
        env=environment,
        check=True,
    )
    return decode_result(done.stdout), b" torch\n" in done.stderr


@pytest.mark.parametrize(("policy", "wait_s"), [(WhenBusy.SKIP, 60.0), (WhenBusy.WAIT, 0.2), (WhenBusy.SMALLER, 0.0)])
def test_a_busy_gpu_is_a_result_before_torch_is_imported(paper, request_for, driver, policy, wait_s) -> None:
    if policy is WhenBusy.SMALLER:
        (driver / "pynvml.py").write_text((driver / "pynvml.py").read_text().replace("20 * GIB", "24 * GIB"))
    asked = request_for(paper, device="auto", level=HealthLevel.GENERATE, when_busy=policy, wait_s=wait_s)
    result, has_torch = probe(driver, asked)
    assert result.outcome is HealthOutcome.GPU_BUSY
    assert result.detail.startswith("NVIDIA Test is busy: process 4194305 holds 20.4 GB of GPU memory")
    assert ("waited 0 s" in result.detail) is (policy is WhenBusy.WAIT)
    assert not has_torch


def test_the_processor_draws_instead_where_that_is_wanted(tiny, request_for, driver) -> None:
    asked = request_for(tiny, device="auto", level=HealthLevel.AUTO, when_busy=WhenBusy.CPU)
    result, has_torch = probe(driver, asked)
    assert (result.outcome, result.level, result.device) == (HealthOutcome.OK, HealthLevel.GENERATE, "cpu")
    assert result.detail.startswith("NVIDIA Test is busy: ")
    assert "; done on the processor; " in result.detail
    assert (result.placement, has_torch) == ("cpu", True)
    assert result.needed_memory_bytes > 10**9


def test_a_model_larger_than_all_memory_is_out_of_memory_and_never_loaded(paper, request_for, driver) -> None:
    elements = 2**40
    header = f'{{"tensor1": {{"dtype": "F32", "shape": [{elements}], "data_offsets": [0, {4 * elements}]}}}}'.encode()
    shard = Path(paper, "transformer", "model-1.safetensors")
    shard.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(shard, 8 + len(header) + 4 * elements)  # it has no blocks
    result, _ = probe(driver, request_for(paper, level=HealthLevel.LOAD))
    assert (result.outcome, result.level) == (HealthOutcome.OUT_OF_MEMORY, HealthLevel.FILES)
    assert "bytes of memory are needed" in result.detail
    assert result.placement == "impossible"
    assert result.needed_memory_bytes > 2**41


def test_a_gpu_that_is_asked_for_and_not_there_is_no_gpu(paper, request_for, driver) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    (driver / "pynvml.py").write_text("raise ImportError('broken')\n")
    result, _ = probe(driver, request_for(paper, device="cuda", level=HealthLevel.GENERATE))
    assert result.outcome is HealthOutcome.NO_GPU
    assert result.detail.endswith("; no NVIDIA driver: libnvidia-ml.so.1 is not there") or "NVML" in result.detail


def test_too_little_memory_for_the_libraries_is_out_of_memory(tiny, request_for, driver) -> None:
    result, _ = probe(driver, request_for(tiny, level=HealthLevel.LOAD), "prlimit", "--as=400000000", "--")
    assert result.outcome is HealthOutcome.OUT_OF_MEMORY, result

"""On a real GPU: others' work is left alone, a small card is enough, and the memory is free afterwards.

    python -m pytest -n 0 -m gpu tests/gpu

Needs CUDA, torch and diffusers, and a GPU that nobody else uses. nvidia-ml-py is used where it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

import zimage_syncd  # noqa: E402 (torch comes with the probe extra)
from tests.support.tiny_pipeline import tiny_pipeline  # noqa: E402
from zimage_syncd.model.failures import Stopped  # noqa: E402
from zimage_syncd.model.health import (  # noqa: E402
    HealthLevel,
    HealthOutcome,
    HealthRequest,
    Placement,
    WhenBusy,
)
from zimage_syncd.probe import device, gpu, offload, pipeline  # noqa: E402
from zimage_syncd.process.probe import ProbeProcess  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.probe,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    pytest.mark.timeout(300),
]

ROOT = os.path.dirname(os.path.dirname(zimage_syncd.__file__))
MIB = 2**20
NOISE_BYTES = 64 * MIB
"""By how much the driver's own account of free memory wavers."""

HOLDER = """
import sys, time, torch
held = torch.ones(4 * 10**9 // 4, device="cuda")
factor = torch.ones(4096, 4096, device="cuda", dtype=torch.bfloat16)
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for _ in range(50):
        factor @ factor
    torch.cuda.synchronize()
"""


class Never:
    def check(self) -> None:
        pass


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_pipeline(str(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def asked(tiny: str, tmp_path: Path) -> HealthRequest:
    picture = str(tmp_path / "picture.png")
    return HealthRequest(
        tiny, "huggingface", "a/b", "main", HealthLevel.GENERATE, size_px=512, steps=4, picture=picture
    )


@contextmanager
def somebody(seconds: float = 600.0) -> Iterator[int]:
    """Another process that holds 4 GB and computes without a pause; gives its number."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield holder.pid
    finally:
        holder.kill()
        holder.communicate()


def free_bytes() -> int:
    return int(torch.cuda.mem_get_info()[0])


def reached(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_gpu_that_another_process_uses_is_busy_and_its_work_goes_on(asked: HealthRequest) -> None:
    with somebody():
        result = ProbeProcess(None, os.environ).run(replace(asked, when_busy=WhenBusy.SKIP), 120, Never())
    assert result.outcome is HealthOutcome.GPU_BUSY, result
    assert "is busy: " in result.detail
    assert not os.path.exists(asked.picture)


def test_nvml_tells_who_it_is() -> None:
    pytest.importorskip("pynvml")

    def looks() -> gpu.Look:
        seen = gpu.look(os.environ)
        assert isinstance(seen, gpu.Look), seen
        return seen

    with somebody():
        # The driver's utilisation is that of the second before.
        assert reached(lambda: max(looks().utilisations) > 50, 10)
        seen, by_torch = looks(), device.look()
    assert isinstance(by_torch, gpu.Look), by_torch
    assert seen.total_bytes == by_torch.total_bytes
    assert seen.total_bytes - seen.free_bytes > 4 * 10**9


def test_it_waits_until_the_others_have_ended(asked: HealthRequest) -> None:
    with somebody(seconds=40):  # longer than importing torch takes, after which it is asked where there is no NVML
        result = ProbeProcess(None, os.environ).run(replace(asked, wait_s=120), 240, Never())
    assert result.outcome is HealthOutcome.OK, result
    assert dict(result.timings_s)["wait"] >= 3
    assert result.placement is Placement.WHOLE


def test_the_processor_draws_while_the_gpu_is_busy(asked: HealthRequest) -> None:
    with somebody():
        wanted = replace(asked, size_px=64, when_busy=WhenBusy.CPU)
        result = ProbeProcess(None, os.environ).run(wanted, 240, Never())
    assert (result.outcome, result.level, result.device) == (HealthOutcome.OK, HealthLevel.GENERATE, "cpu"), result


def test_a_smaller_picture_is_drawn_beside_the_others(asked: HealthRequest) -> None:
    from PIL import Image

    with somebody():
        result = ProbeProcess(None, os.environ).run(replace(asked, when_busy=WhenBusy.SMALLER), 240, Never())
    assert result.outcome is HealthOutcome.OK, result
    assert result.device.startswith("cuda:0")
    with Image.open(result.picture) as picture:
        assert picture.size == (256, 256)


class WhenTaken:
    """Asks to stop as soon as memory of the GPU is taken."""

    def __init__(self, before: int) -> None:
        self.before = before

    def check(self) -> None:
        if free_bytes() < self.before - 200 * MIB:
            raise Stopped("health", "a test asked for it")


def test_the_memory_is_free_when_the_check_has_ended(asked: HealthRequest) -> None:
    before = free_bytes()
    assert ProbeProcess(None, os.environ).run(asked, 240, Never()).outcome is HealthOutcome.OK
    assert reached(lambda: free_bytes() > before - NOISE_BYTES, 10)


def test_the_memory_is_free_when_the_check_was_stopped_half_way(asked: HealthRequest) -> None:
    before = free_bytes()
    with pytest.raises(Stopped):
        ProbeProcess(None, os.environ).run(replace(asked, size_px=2048, steps=50), 240, WhenTaken(before))
    assert reached(lambda: free_bytes() > before - NOISE_BYTES, 10)


def test_the_memory_is_free_after_a_kill_of_the_process_that_asked(asked: HealthRequest) -> None:
    before = free_bytes()
    starter = f"""
import os
from zimage_syncd.model.health import HealthLevel, HealthRequest
from zimage_syncd.process.probe import ProbeProcess
class Never:
    def check(self): pass
ProbeProcess(None, os.environ).run(HealthRequest({asked.directory!r}, "huggingface", "a/b", "main",
    HealthLevel.GENERATE, "cuda", 2048, 50), 600, Never())
"""
    daemon = subprocess.Popen([sys.executable, "-c", starter], env={**os.environ, "PYTHONPATH": ROOT})
    try:
        assert reached(lambda: free_bytes() < before - 200 * MIB, 120)
    finally:
        daemon.kill()
        daemon.wait()
    assert reached(lambda: free_bytes() > before - NOISE_BYTES, 10)


def test_a_model_that_is_offloaded_draws_the_same_picture(asked: HealthRequest) -> None:
    wanted = replace(asked, size_px=256)
    pictures = {}
    for placement in (Placement.WHOLE, Placement.COMPONENTS, Placement.LAYERS):
        name = "cpu" if placement in offload.OFFLOADED else "cuda:0"
        loaded = pipeline.load(diffusers.ZImagePipeline, wanted.directory, device.Device(name, name, torch.bfloat16))
        if placement in offload.OFFLOADED:
            offload.spread(loaded, placement, "cuda:0")
        pictures[placement] = pipeline.draw(loaded, wanted)
        del loaded
        torch.cuda.empty_cache()
    for placement in offload.OFFLOADED:
        assert abs(pictures[placement] - pictures[Placement.WHOLE]).mean() < 0.01, placement


def test_running_out_of_memory_while_drawing_is_a_result(asked: HealthRequest) -> None:
    loaded = pipeline.load(diffusers.ZImagePipeline, asked.directory, device.Device("cuda:0", "cuda:0", torch.bfloat16))
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 32 * MIB) / total)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError) as caught:
            pipeline.draw(loaded, replace(asked, size_px=2048, steps=1))
        concluded = device.conclude(
            caught.value, device.Device("cuda:0", "cuda:0", torch.bfloat16), HealthOutcome.CRASHED
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        del loaded
        torch.cuda.empty_cache()
    assert concluded.outcome is HealthOutcome.OUT_OF_MEMORY

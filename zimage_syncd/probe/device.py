"""Where a model is put, in which data type, and what memory problems there mean. Imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from zimage_syncd.model.health import HealthLevel, HealthOutcome, Placement
from zimage_syncd.probe import gpu
from zimage_syncd.probe.conclusion import Concluded, Progress, first_line, resident_peak_bytes
from zimage_syncd.probe.host_memory import available_bytes
from zimage_syncd.probe.need import Need
from zimage_syncd.probe.placement import CONTEXT_BYTES, Placed, place_on_cpu, place_on_gpu

SMALL_BYTES = 2**30
"""Below this size a model is loaded as float32 and draws on a processor, in seconds to minutes."""

BUSY_FRACTION = 0.05
"""Of the card's memory: when other processes hold more than this, they are the ones to blame for what did not fit."""


@dataclass(frozen=True, slots=True)
class Device:
    """A place for a model."""

    name: str
    """cuda:0 or cpu."""
    label: str
    """With the card's name, for people."""
    dtype: torch.dtype
    """What the weights are converted to while they are loaded."""

    @property
    def is_gpu(self) -> bool:
        """Whether it has memory of its own."""
        return self.name != "cpu"


def choose(wanted: str, weights_bytes: int) -> Device:
    """Picks the device.

    Args:
        wanted: auto, cuda or cpu.
        weights_bytes: of the safetensors files.

    Raises:
        Concluded: no_gpu, where CUDA is asked for and not there.
    """
    if wanted != "cpu" and torch.cuda.is_available():
        return Device("cuda:0", f"cuda:0 {torch.cuda.get_device_name(0)}", torch.bfloat16)
    if wanted == "cuda":
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        seen = gpu.look(os.environ)
        driver = seen.reason if isinstance(seen, gpu.Unseen) else f"the driver has {seen.name}"
        detail = f"torch {torch.__version__} (built {built}) finds no CUDA device; {driver}"
        raise Concluded(HealthOutcome.NO_GPU, detail)
    return Device("cpu", "cpu", torch.float32 if weights_bytes < SMALL_BYTES else torch.bfloat16)


def affordable_level(device: Device, weights_bytes: int) -> tuple[HealthLevel, str]:
    """What the level `auto` means here, and why where it is less than a picture."""
    if device.name != "cpu" or weights_bytes < SMALL_BYTES:
        return HealthLevel.GENERATE, ""
    free_bytes = available_bytes()
    if 2 * weights_bytes < free_bytes:
        return HealthLevel.LOAD, "without a GPU: loaded into memory, no picture made"
    return (
        HealthLevel.FILES,
        f"without a GPU, and {weights_bytes} bytes of weights for {free_bytes} bytes of free memory",
    )


def look() -> gpu.Look | gpu.Unseen:
    """The GPU that torch would use, by NVML; by what torch itself sees of its memory where there is no NVML (ROCm).

    To be asked before this process has put anything there: in a container its own memory and kernels cannot be told
    from those of others.
    """
    if torch.cuda.is_initialized() and torch.cuda.memory_reserved():
        return gpu.Unseen("this process uses the GPU itself")
    if not torch.cuda.is_available():
        return gpu.Unseen("torch finds no CUDA device")
    if torch.version.hip is None:
        # Named by what it is: NVML counts in another order. Older versions of torch do not tell.
        uuid = str(getattr(torch.cuda.get_device_properties(0), "uuid", ""))
        seen = gpu.look(os.environ, uuid)
        if isinstance(seen, gpu.Look):
            return seen
    try:
        free_bytes, total_bytes = torch.cuda.mem_get_info()
    except Exception as error:
        raise conclude(error, Device("cuda:0", "cuda:0", torch.bfloat16), HealthOutcome.CRASHED) from error
    return gpu.Look(torch.cuda.get_device_name(0), total_bytes, free_bytes)


def fit(device: Device, need: Need, size_px: int, progress: Progress) -> None:
    """Notes in `progress` how the model fits into what is free now.

    Args:
        device: where to.
        need: of the weights.
        size_px: width and height of the picture; 0 where none is drawn.
        progress: knows what others are left, and is told.

    Raises:
        Concluded: out_of_memory or gpu_busy, where it does not fit; gpu_busy, where the card is somebody's alone.
    """
    host_bytes = available_bytes()
    if device.name == "cpu":
        placed = _note(progress, place_on_cpu(need, device.dtype.itemsize, size_px, host_bytes))
        if placed.placement is Placement.IMPOSSIBLE:
            numbers = f"{placed.needed_bytes} bytes of memory are needed, {host_bytes} are free"
            raise Concluded(HealthOutcome.OUT_OF_MEMORY, numbers)
        return
    try:
        free_bytes, total_bytes = torch.cuda.mem_get_info()
    except Exception as error:
        raise conclude(error, device, HealthOutcome.CRASHED) from error
    own_bytes = torch.cuda.memory_reserved()
    # The context of this process is there by now.
    left_bytes = free_bytes + own_bytes + CONTEXT_BYTES - progress.spared_bytes
    placed = _note(progress, place_on_gpu(need, size_px, left_bytes, host_bytes))
    if placed.placement is Placement.IMPOSSIBLE:
        blamed = blame(free_bytes, total_bytes, own_bytes + CONTEXT_BYTES)
        least = f"at least {placed.needed_bytes} bytes on the GPU and {placed.host_bytes} of memory are needed"
        raise Concluded(blamed.outcome, f"{least}; {blamed.detail}; {host_bytes} bytes of memory free")


def _note(progress: Progress, placed: Placed) -> Placed:
    progress.placement, progress.needed_memory_bytes = placed.placement, placed.needed_bytes
    return placed


def peak_memory_bytes(device: Device) -> int:
    """CUDA: the most that torch had allocated; processor: the process's largest resident size."""
    if device.name == "cpu":
        return resident_peak_bytes()
    return int(torch.cuda.max_memory_allocated())


def conclude(error: Exception, device: Device, otherwise: HealthOutcome) -> Concluded:
    """Translates what a library raised while it loaded or generated.

    Args:
        error: as raised.
        device: where it was tried.
        otherwise: the outcome for everything that is not about memory or a card in use.
    """
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        return blame(free_bytes, total_bytes, torch.cuda.memory_reserved())
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return Concluded(HealthOutcome.OUT_OF_MEMORY, f"{device.label}: {first_line(error)}")
    if "busy or unavailable" in text:
        return Concluded(HealthOutcome.GPU_BUSY, f"{device.label} is used exclusively by another process")
    return Concluded(otherwise, first_line(error))


def blame(free_bytes: int, total_bytes: int, own_bytes: int) -> Concluded:
    """Whether the card is too small, or others are using it.

    Args:
        free_bytes: of the card's memory, as the driver says.
        total_bytes: of the card.
        own_bytes: what this process holds.
    """
    others_bytes = max(total_bytes - free_bytes - own_bytes, 0)
    numbers = f"{total_bytes} bytes on the GPU: {own_bytes} here, {others_bytes} held by others, {free_bytes} free"
    busy = others_bytes > BUSY_FRACTION * total_bytes
    return Concluded(HealthOutcome.GPU_BUSY if busy else HealthOutcome.OUT_OF_MEMORY, numbers)

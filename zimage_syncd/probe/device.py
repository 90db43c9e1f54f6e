"""Where a model is put, in which data type, and what memory problems there mean. Imports torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from zimage_syncd.model.health import HealthLevel, HealthOutcome
from zimage_syncd.probe.conclusion import Concluded, first_line, resident_peak_bytes

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
        raise Concluded(HealthOutcome.NO_GPU, f"torch {torch.__version__} (built {built}) finds no CUDA device")
    return Device("cpu", "cpu", torch.float32 if weights_bytes < SMALL_BYTES else torch.bfloat16)


def affordable_level(device: Device, weights_bytes: int) -> tuple[HealthLevel, str]:
    """What the level `auto` means here, and why where it is less than a picture."""
    if device.name != "cpu" or weights_bytes < SMALL_BYTES:
        return HealthLevel.GENERATE, ""
    available_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 2 * weights_bytes < available_bytes:
        return HealthLevel.LOAD, "no GPU: loaded into memory, no picture made"
    return HealthLevel.FILES, f"no GPU, and {weights_bytes} bytes of weights for {available_bytes} bytes of free memory"


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

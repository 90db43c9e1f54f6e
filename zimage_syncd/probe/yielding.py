"""What becomes of a health check while somebody else's work needs the GPU: `when_busy`, carried out.

Asked before torch is imported, which costs seconds and memory, and again right before anything is loaded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, Placement, WhenBusy
from zimage_syncd.probe import gpu
from zimage_syncd.probe.busy import others_work
from zimage_syncd.probe.conclusion import Concluded, Progress
from zimage_syncd.probe.host_memory import available_bytes
from zimage_syncd.probe.need import Need
from zimage_syncd.probe.placement import Placed, place_on_gpu

LOOK_EVERY_S = 3.0
"""While it waits."""

SMALLER_PX = 256
SMALLER_STEPS = 2
"""What `smaller` draws at most."""

SPARED_BYTES = 2**30
"""Of free memory that `smaller` leaves to the others, whose own needs go up and down."""


def _look() -> gpu.Look | gpu.Unseen:
    return gpu.look(os.environ)


@dataclass(frozen=True, slots=True)
class Senses:
    """How the world outside is seen, and waited for."""

    look: Callable[[], gpu.Look | gpu.Unseen] = _look
    """The GPU that would be used."""
    host_free_bytes: Callable[[], int] = available_bytes
    """The machine's memory."""
    sleep: Callable[[float], None] = time.sleep
    """Waits, in seconds."""


def settle(request: HealthRequest, need: Need, progress: Progress, senses: Senses) -> HealthRequest:
    """Comes back when nobody else's work needs the GPU, or with what is to be done beside it.

    Args:
        request: what was asked for.
        need: memory of the weights.
        progress: is told what was waited for, and what others are left.
        senses: how the GPU is looked at.

    Returns:
        What is to be done: the same, or less.

    Raises:
        Concluded: gpu_busy.
    """
    while request.device != "cpu" and not progress.spared_bytes:
        seen = senses.look()
        if isinstance(seen, gpu.Unseen):
            return request  # torch will tell whether there is one
        work = others_work(seen, _needed_bytes(request, need, seen, senses))
        if not work:
            return request
        work = f"{seen.name} is busy: {work}"
        match request.when_busy:
            case WhenBusy.WAIT:
                _wait(request, work, progress, senses)
            case WhenBusy.SKIP:
                raise Concluded(HealthOutcome.GPU_BUSY, work)
            case WhenBusy.CPU:
                progress.remarks.append(f"{work}; done on the processor")
                level = HealthLevel.AUTO if request.level is HealthLevel.GENERATE else request.level
                request = replace(request, device="cpu", level=level)
            case WhenBusy.SMALLER:
                request = _smaller(request, need, work, seen.free_bytes, progress, senses)
    return request


def _needed_bytes(request: HealthRequest, need: Need, seen: gpu.Look, senses: Senses) -> int:
    """What the check would take of an empty card."""
    return _place(request, need, seen.total_bytes, senses).needed_bytes


def _place(request: HealthRequest, need: Need, free_bytes: int, senses: Senses) -> Placed:
    size_px = 0 if request.level is HealthLevel.LOAD else request.size_px
    return place_on_gpu(need, size_px, free_bytes, senses.host_free_bytes())


def _wait(request: HealthRequest, work: str, progress: Progress, senses: Senses) -> None:
    left_s = request.wait_s - progress.waited_s
    if left_s <= 0:
        waited = f"; waited {progress.waited_s:.0f} s" if progress.waited_s else ""
        raise Concluded(HealthOutcome.GPU_BUSY, f"{work}{waited}")
    pause_s = min(LOOK_EVERY_S, left_s)
    senses.sleep(pause_s)
    progress.waited_s += pause_s


def _smaller(
    request: HealthRequest, need: Need, work: str, free_bytes: int, progress: Progress, senses: Senses
) -> HealthRequest:
    size_px, steps = min(request.size_px, SMALLER_PX), min(request.steps, SMALLER_STEPS)
    smaller = replace(request, size_px=size_px, steps=steps)
    placed = _place(smaller, need, free_bytes - SPARED_BYTES, senses)
    if placed.placement is Placement.IMPOSSIBLE:
        numbers = f"{placed.needed_bytes} bytes are needed at least, {free_bytes} are free"
        raise Concluded(HealthOutcome.GPU_BUSY, f"{work}; {numbers}, of which {SPARED_BYTES} are left to others")
    progress.spared_bytes = SPARED_BYTES
    progress.remarks.append(f"{work}; a smaller picture beside it ({size_px} px, {steps} steps)")
    return smaller

"""Where a model goes: decided from what it needs and what is free, before anything is loaded. Pure.

Calibrated on Z-Image-Turbo's real shapes on an H200 (bfloat16, 1024 px, 9 steps): 20.5 GB of weights, 23.3 GB at the
peak, so 2.8 GB of activations for 2^20 pixels, most of them while the picture is decoded. Other pipelines are estimated
by the same numbers; where they turn out too low, running out of memory is a result all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.model.health import Placement
from zimage_syncd.probe.need import Need

PIXEL_BYTES = 2700
"""Activations for each pixel of the picture in bfloat16: (23.3 - 20.5) GB / 2^20, rounded up."""

CONTEXT_BYTES = 600_000_000
"""CUDA's context and the workspaces of its libraries, which torch does not count as its own."""

PROGRAM_BYTES = 2_300_000_000
"""Resident memory of Python with torch, CUDA, diffusers and transformers, and of the pinned buffers of 16 threads that
read: 2168 MiB at most on the H200's machine."""

GPU_FLOAT_BYTES = 2
"""On a GPU everything is bfloat16."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What was decided."""

    placement: Placement
    """How; `impossible` where no way fits."""
    needed_bytes: int
    """Of the device's memory; where it is impossible, of the way that needs least."""
    host_bytes: int
    """Of the machine's memory beside that."""


def place_on_gpu(need: Need, size_px: int, free_bytes: int, host_free_bytes: int) -> Placed:
    """The fastest way of which all fits.

    Args:
        need: of the weights.
        size_px: width and height of the picture; 0 where none is drawn.
        free_bytes: of the GPU's memory, without a context of this process.
        host_free_bytes: of the machine's memory.
    """
    ways = list(_ways(need, size_px))
    for way in ways:
        if way.needed_bytes <= free_bytes and way.host_bytes <= host_free_bytes:
            return way
    least = ways[-1]
    return Placed(Placement.IMPOSSIBLE, least.needed_bytes, least.host_bytes)


def _ways(need: Need, size_px: int) -> Iterator[Placed]:
    """From the fastest to the slowest. What is offloaded waits in the machine's memory, all of it."""
    rest = CONTEXT_BYTES + PIXEL_BYTES * size_px**2
    weights = need.loaded_bytes(GPU_FLOAT_BYTES)
    yield Placed(Placement.WHOLE, weights + rest, PROGRAM_BYTES)
    yield Placed(Placement.COMPONENTS, need.largest_component_bytes(GPU_FLOAT_BYTES) + rest, weights + PROGRAM_BYTES)
    # The one that computes, and the next one on its way.
    yield Placed(Placement.LAYERS, 2 * need.largest_tensor_bytes(GPU_FLOAT_BYTES) + rest, weights + PROGRAM_BYTES)


def place_on_cpu(need: Need, float_bytes: int, size_px: int, host_free_bytes: int) -> Placed:
    """The processor, if its memory suffices.

    Args:
        need: of the weights.
        float_bytes: of a floating number in memory: 4 or 2.
        size_px: as in `place_on_gpu`.
        host_free_bytes: of the machine's memory.
    """
    needed = need.loaded_bytes(float_bytes) + PROGRAM_BYTES + PIXEL_BYTES * float_bytes // GPU_FLOAT_BYTES * size_px**2
    fits = needed <= host_free_bytes
    return Placed(Placement.CPU if fits else Placement.IMPOSSIBLE, needed, 0)

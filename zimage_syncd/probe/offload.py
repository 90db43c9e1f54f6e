"""Spreads a loaded pipeline over the machine's memory and a GPU that is too small for all of it. Uses accelerate.

The pipeline has been loaded into the machine's memory and its tensors have been looked at: afterwards they come and go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zimage_syncd.model.health import HealthOutcome, Placement
from zimage_syncd.probe.conclusion import Concluded, first_line

if TYPE_CHECKING:
    import diffusers

OFFLOADED = frozenset({Placement.COMPONENTS, Placement.LAYERS})
"""What this module does; everything else is loaded to where it stays."""


def spread(loaded: diffusers.DiffusionPipeline, placement: Placement, device: str) -> None:
    """Makes the pipeline fetch what computes next to the GPU.

    Args:
        loaded: in the machine's memory, bfloat16.
        placement: components or layers. Pipelines that name no order of their components go by layers.
        device: such as cuda:0.

    Raises:
        Concluded: missing_extra, without accelerate.
    """
    by_components = placement is Placement.COMPONENTS and loaded.model_cpu_offload_seq is not None
    try:
        if by_components:
            loaded.enable_model_cpu_offload(device=device)
        else:
            loaded.enable_sequential_cpu_offload(device=device)
    except ImportError as error:
        raise Concluded(HealthOutcome.MISSING_EXTRA, f"the GPU is small: {first_line(error)}") from error

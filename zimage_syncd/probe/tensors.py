"""Whether tensors hold what a trained model can hold. Imports torch."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from zimage_syncd.model.health import HealthOutcome
from zimage_syncd.probe.conclusion import Concluded


def refuse_bad_tensors(tensors: Iterable[tuple[str, torch.Tensor, bool]]) -> int:
    """Checks that every value is finite, and that no weight matrix is all zero.

    Vectors may be zero: many a bias is, and a padding token of shape (1, n). One number a tensor is brought to the
    processor, all of them at once, so that a GPU is never waited for in between.

    Args:
        tensors: name, values (any shape, floating or not, on any device but `meta`), and whether they are weights.

    Returns:
        How many tensors were checked.

    Raises:
        Concluded: load_failed, with the first tensor in the given order that is not good.
    """
    names, largest, weights = [], [], []
    count = 0
    for name, tensor, is_weight in tensors:
        count += 1
        if tensor.is_floating_point() and tensor.numel():
            names.append(name)
            # NaN and infinity are passed on by it, and it needs no copy of the tensor.
            largest.append(torch.linalg.vector_norm(tensor.detach(), ord=float("inf")).float())
            weights.append(is_weight and sum(length > 1 for length in tensor.shape) >= 2)
    if not largest:
        return count
    found = torch.stack([value.to(largest[0].device) for value in largest]).cpu()
    for name, value, is_matrix in zip(names, found.tolist(), weights, strict=True):
        if not value < float("inf"):
            raise Concluded(HealthOutcome.LOAD_FAILED, f"{name} holds NaN or infinity")
        if is_matrix and value == 0:
            raise Concluded(HealthOutcome.LOAD_FAILED, f"{name} holds nothing but zeros")
    return count

"""Whether a weight index and the shards that it lists say the same. Pure.

Reading a shard whose tensors are not the index's is no error of the libraries: they fill what they miss with random
numbers, and draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from zimage_syncd.layouts.safetensors_header import Tensor

MAX_NAMED = 3
"""Tensors that a sentence names; the others are counted."""


@dataclass(frozen=True, slots=True)
class WeightIndex:
    """A `*.safetensors.index.json`."""

    shard_of: Mapping[str, str]
    """The shard of each tensor, by its name in the repository."""
    total_bytes: int | None
    """`metadata.total_size`, the sum of all tensors; None where it is not given."""

    @property
    def shards(self) -> frozenset[str]:
        """All that it lists."""
        return frozenset(self.shard_of.values())


def damage_of(index: WeightIndex, tensors: Mapping[str, tuple[Tensor, ...]]) -> list[str]:
    """What cannot be read as the index says.

    Args:
        index: as read.
        tensors: of each safetensors file whose header is good; shards that are not among them are told elsewhere.
    """
    inside = {shard: {tensor.name for tensor in tensors[shard]} for shard in index.shards if shard in tensors}
    missing = [name for name, shard in index.shard_of.items() if shard in inside and name not in inside[shard]]
    often = Counter(name for names in inside.values() for name in names)
    doubled = [name for name, count in often.items() if count > 1]
    found = []
    if missing:
        found.append(f"{_named(missing)} not in the shard that it names")
    if doubled:
        found.append(f"{_named(doubled)} in more than one of its shards")
    return found


def remarks_on(index: WeightIndex, tensors: Mapping[str, tuple[Tensor, ...]]) -> list[str]:
    """What is odd and hurts nobody: some repositories were published so.

    Args:
        index: as read.
        tensors: as in `damage_of`; nothing is said where a shard is missing.
    """
    if not index.shards <= set(tensors):
        return []
    inside = [tensor for shard in index.shards for tensor in tensors[shard]]
    found = []
    more = sorted({tensor.name for tensor in inside} - set(index.shard_of))
    if more:
        found.append(f"does not list {_named(more)} of its shards")
    total = sum(tensor.stored_bytes for tensor in inside)
    if index.total_bytes is not None and index.total_bytes != total:
        found.append(f"gives a total_size of {index.total_bytes} bytes, its shards' tensors have {total}")
    return found


def _named(names: list[str]) -> str:
    shown = ", ".join(repr(name[:100]) for name in sorted(names)[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{len(names)} tensors ({shown}{more})"

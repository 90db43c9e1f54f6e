"""How much memory a pipeline needs, read off the headers of its weights before anything is loaded. Pure.

What is converted when it is loaded is counted in the type that it is converted to: floating tensors as bfloat16 on a
GPU. What the libraries add to that (activations, workspaces) is estimated in `placement`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from zimage_syncd.layouts.safetensors_header import Tensor

_NUMBER = re.compile(r"-\d{5}-of-\d{5}")
_ENDING = ".safetensors"


@dataclass(frozen=True, slots=True)
class ComponentNeed:
    """What one component's weights come to."""

    name: str
    """Its directory."""
    float_elements: int
    """Numbers that are converted when they are loaded."""
    other_bytes: int
    """Of tensors that stay as they are."""
    largest_elements: int
    """Numbers in its largest floating tensor."""

    def loaded_bytes(self, float_bytes: int) -> int:
        """In memory, with so many bytes for each floating number."""
        return self.float_elements * float_bytes + self.other_bytes


@dataclass(frozen=True, slots=True)
class Need:
    """What a pipeline's weights come to."""

    components: tuple[ComponentNeed, ...]
    """Those with weights."""

    def loaded_bytes(self, float_bytes: int) -> int:
        """All of them in memory."""
        return sum(part.loaded_bytes(float_bytes) for part in self.components)

    def largest_component_bytes(self, float_bytes: int) -> int:
        """The largest of them in memory; 0 without any."""
        return max((part.loaded_bytes(float_bytes) for part in self.components), default=0)

    def largest_tensor_bytes(self, float_bytes: int) -> int:
        """The largest floating tensor in memory; 0 without any."""
        return max((part.largest_elements * float_bytes for part in self.components), default=0)


def need_of(
    components: tuple[str, ...], tensors: Mapping[str, tuple[Tensor, ...]], shards: Mapping[str, frozenset[str]]
) -> Need:
    """Adds up what loading these components reads.

    Args:
        components: their directories.
        tensors: of each safetensors file, by its name in the repository.
        shards: names in the repository of what each weight index lists, by the index's own name.
    """
    found = [_component(name, loaded_files(name, tuple(tensors), shards), tensors) for name in components]
    return Need(tuple(part for part in found if part.float_elements or part.other_bytes))


def _component(name: str, files: tuple[str, ...], tensors: Mapping[str, tuple[Tensor, ...]]) -> ComponentNeed:
    inside = [tensor for file in files for tensor in tensors[file]]
    floats = [tensor.elements for tensor in inside if tensor.is_float]
    others = sum(tensor.stored_bytes for tensor in inside if not tensor.is_float)
    return ComponentNeed(name, sum(floats), others, max(floats, default=0))


def loaded_files(component: str, files: tuple[str, ...], shards: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Which safetensors files of a component `from_pretrained` reads: those of its index, and no variant's.

    A variant (`model.fp16.safetensors`) is read only when it is asked for by name; where there is nothing else, it is
    counted.
    """
    inside = [file for file in files if file.rpartition("/")[0] == component]
    for index, listed in shards.items():
        if index.rpartition("/")[0] == component and not _is_variant(index.removesuffix(".index.json")):
            return tuple(file for file in inside if file in listed)
    plain = tuple(file for file in inside if not _is_variant(file))
    return plain or tuple(inside)


def _is_variant(name: str) -> bool:
    return "." in _NUMBER.sub("", name.rpartition("/")[2].removesuffix(_ENDING))

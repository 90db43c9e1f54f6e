"""Reads a safetensors file's header without torch, and says whether it fits the file.

Format: 8 bytes little-endian length N, N bytes of JSON, then the tensors' bytes without gaps (safetensors, README
"Format"; the bound of 100 MB on N is `MAX_HEADER_SIZE` of its Rust crate).
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass

_MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 64
_LENGTH = struct.Struct("<Q")

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64,
    "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of an element (safetensors, `Dtype`); an unknown type's size is not checked, since the format grows."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a header says of one tensor."""

    name: str
    """In the file."""
    dtype: str
    """As the format calls it, such as BF16."""
    shape: tuple[int, ...]
    """Its dimensions, outermost first; empty for a single number."""
    offset: int
    """Of its first byte, from the beginning of the file."""
    stored_bytes: int
    """In the file: without gaps, in row-major order, little-endian."""

    @property
    def elements(self) -> int:
        """Product of its shape; 1 for a single number."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether loading as another floating type converts it; packed types smaller than a byte stay as they are."""
        return self.dtype.startswith(("F", "BF")) and _BITS.get(self.dtype, 0) >= 8


def check_safetensors(descriptor: int, size_bytes: int) -> str | None:
    """What is wrong with a safetensors file's header; None where it fits the file exactly.

    Args:
        descriptor: open for reading; its offset does not matter.
        size_bytes: the file's size.

    Raises:
        OSError: the disk cannot give the header.
    """
    tensors = read_safetensors(descriptor, size_bytes)
    return tensors if isinstance(tensors, str) else None


def read_safetensors(descriptor: int, size_bytes: int) -> tuple[Tensor, ...] | str:
    """The tensors that a file's header describes, in its order, or what is wrong with it.

    Args:
        descriptor: open for reading; its offset does not matter.
        size_bytes: the file's size.

    Raises:
        OSError: the disk cannot give the header.
    """
    if size_bytes < _LENGTH.size + 2:
        return f"{size_bytes} bytes are too few for a safetensors header"
    (length,) = _LENGTH.unpack(os.pread(descriptor, _LENGTH.size, 0))
    if length > min(_MAX_HEADER_BYTES, size_bytes - _LENGTH.size):
        return f"its header claims {length} bytes, the file has {size_bytes}"
    try:
        header = json.loads(os.pread(descriptor, length, _LENGTH.size).decode(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        return "its header is not JSON, or names something twice"
    if not isinstance(header, dict):
        return "its header is not a JSON object"
    spans, tensors = [], []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        span = _span(tensor)
        if span is None:
            return f"its header describes tensor {str(name)[:100]!r} in a way that cannot be"
        spans.append(span)
        offset = _LENGTH.size + length + span[0]
        tensors.append(Tensor(name, tensor["dtype"], tuple(tensor["shape"]), offset, span[1] - span[0]))
    return _gaps(sorted(spans), size_bytes - _LENGTH.size - length) or tuple(tensors)


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of two tensors of one name, only the last would be seen; the format forbids them."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _span(tensor: object) -> tuple[int, int] | None:
    """A tensor's first and last byte offset, or None where its description contradicts itself."""
    if not isinstance(tensor, dict):
        return None
    offsets, shape, dtype = _naturals(tensor.get("data_offsets")), _naturals(tensor.get("shape")), tensor.get("dtype")
    if offsets is None or shape is None or not isinstance(dtype, str):
        return None
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        return None
    bits = _BITS.get(dtype)
    if bits is not None and (offsets[1] - offsets[0]) * 8 != math.prod(shape) * bits:
        return None
    return offsets[0], offsets[1]


def _naturals(value: object) -> list[int] | None:
    if not isinstance(value, list) or len(value) > _MAX_DIMENSIONS:
        return None
    good = all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**63 for item in value)
    return value if good else None


def _gaps(spans: list[tuple[int, int]], data_bytes: int) -> str | None:
    end = 0
    for start, stop in spans:
        if start != end:
            return f"its tensors do not follow each other: one begins at {start}, expected {end}"
        end = stop
    if end != data_bytes:
        return f"its header describes {end} bytes of tensors, the file holds {data_bytes}"
    return None

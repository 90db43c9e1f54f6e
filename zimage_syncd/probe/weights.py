"""Which bytes of which files are a model's tensors, cut into pieces that threads can read. Needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zimage_syncd.layouts.safetensors_header import Tensor, read_safetensors

DTYPES = frozenset({"BF16", "BOOL", "F16", "F32", "F64", "I16", "I32", "I64", "I8", "U8"})
"""What is read here, by safetensors' names; models with others (8 bits and fewer) are loaded by their own libraries."""

PIECE_BYTES = 32 * 2**20
"""What a thread reads at once. Seen with 33 GB in the page cache and 16 threads: 64 MiB is no faster, and pins twice as
much memory."""

BASE_NAMES = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
"""Each library's `SAFETENSORS_WEIGHTS_NAME`, without the ending: neither looks for the other's."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a tensor that lies in one piece."""

    tensor: int
    """Which of the `Weights.tensors`."""
    first_byte: int
    """Of the tensor's bytes."""
    piece_offset: int
    """Where those bytes begin in the piece."""
    size_bytes: int
    """How many they are: whole elements."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one file that follow each other."""

    path: str
    """Absolute path of the file."""
    offset: int
    """From its beginning."""
    size_bytes: int
    """At most `PIECE_BYTES`."""
    parts: tuple[Part, ...]
    """What they are."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one component."""

    component: str
    """Its directory's name."""
    tensors: tuple[Tensor, ...]
    """In the order of the files, and of the bytes in each; names occur once."""
    pieces: tuple[Piece, ...]
    """All their bytes, each once."""


class WeightsUnclear(Exception):
    """Files in an arrangement that only the libraries themselves can make sense of; the message says which."""


def find_weights(directory: str, component: str, library: str) -> Weights:
    """Reads the headers of the files that the libraries would load for a component.

    Args:
        directory: absolute path of the snapshot.
        component: the component's directory in it.
        library: whose classes load it: diffusers or transformers.

    Returns:
        Empty `tensors` for a component without weights, such as a tokenizer.

    Raises:
        WeightsUnclear: there are weights, but not under the usual names, of an unusual dtype, or with a header that
            does not fit its file.
        OSError: a file cannot be read.
    """
    tensors: list[Tensor] = []
    pieces: list[Piece] = []
    for path in _files(os.path.join(directory, component), BASE_NAMES[library]):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = read_safetensors(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        if isinstance(found, str):
            raise WeightsUnclear(f"{path}: {found}")
        stored = sorted(found, key=lambda tensor: (tensor.offset, tensor.stored_bytes))
        pieces.extend(_cut(path, stored, len(tensors)))
        tensors.extend(stored)
    strange = [tensor for tensor in tensors if tensor.dtype not in DTYPES]
    if strange:
        raise WeightsUnclear(f"{component}: {strange[0].name} is of dtype {strange[0].dtype}")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise WeightsUnclear(f"{component}: a tensor is in several of its files")
    return Weights(component, tuple(tensors), tuple(pieces))


def _files(place: str, base: str) -> list[str]:
    """The files that a library whose weights have this name would take, absolute, in order."""
    present = {name for name in os.listdir(place) if name.endswith((".safetensors", ".safetensors.index.json"))}
    if not present:
        return []
    whole, index = f"{base}.safetensors", f"{base}.safetensors.index.json"
    if whole in present and index in present:
        raise WeightsUnclear(f"{place}: both {whole} and {index}")
    if whole in present:
        return [os.path.join(place, whole)]
    if index in present:
        with open(os.path.join(place, index), encoding="utf-8") as stream:
            shards = sorted(set(json.load(stream)["weight_map"].values()))
        if not all(isinstance(shard, str) and os.path.basename(shard) == shard for shard in shards):
            raise WeightsUnclear(f"{place}: {index} names files elsewhere")
        return [os.path.join(place, shard) for shard in shards]
    raise WeightsUnclear(f"{place}: weights under unusual names: {', '.join(sorted(present))}")


def _cut(path: str, stored: Sequence[Tensor], first_number: int) -> Iterator[Piece]:
    """Pieces of whole elements: small tensors together, large ones in parts."""
    parts: list[Part] = []
    start = end = stored[0].offset if stored else 0
    for number, tensor in enumerate(stored, first_number):
        done = 0
        while done < tensor.stored_bytes:
            room = (PIECE_BYTES - (end - start)) // _GRAIN * _GRAIN
            if room <= 0:
                yield Piece(path, start, end - start, tuple(parts))
                parts, start = [], end
                continue
            size_bytes = min(tensor.stored_bytes - done, room)
            parts.append(Part(number, done, end - start, size_bytes))
            done += size_bytes
            end += size_bytes
    if parts:
        yield Piece(path, start, end - start, tuple(parts))


_GRAIN = 16
"""No element is larger (C64 has 8 bytes); a tensor is cut at multiples of it."""

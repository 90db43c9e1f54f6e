"""Writes and overwrites safetensors files with nothing but the standard library.

Format: 8 bytes length, JSON header, data (https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable


def write_safetensors(path: str, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    """Writes a file of `name -> (dtype, shape, data)`."""
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text + data)


def overwrite_tensor(path: str, name: str, pattern: bytes, count: int | None = None) -> None:
    """Overwrites a tensor's data from its beginning with `pattern`, `count` times; None: all of it."""
    with open(path, "r+b") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        first, end = json.loads(stream.read(length))[name]["data_offsets"]
        stream.seek(8 + length + first)
        stream.write(pattern * ((end - first) // len(pattern) if count is None else count))


def rename_tensors(path: str, rename: Callable[[str], str]) -> None:
    """Gives a file's tensors other names."""
    with open(path, "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
        data = stream.read()
    text = json.dumps({name if name == "__metadata__" else rename(name): values for name, values in header.items()})
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text.encode() + data)

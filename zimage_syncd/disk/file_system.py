"""Which kind of file system a path or an open file lies on, by the number that statfs(2) gives."""

from __future__ import annotations

import ctypes
import os

_IN_MEMORY = frozenset({0x01021994, 0x858458F6})
"""tmpfs and ramfs (linux/magic.h)."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_STATFS_BYTES = 256
"""More than `struct statfs` has anywhere (120 bytes on 64-bit Linux); its first field is `f_type`."""
_TYPE_BITS = 0xFFFFFFFF
"""Which of them count: the field is signed on some architectures."""


def type_of(place: str | int) -> int | None:
    """`f_type` of statfs(2); None where nothing can be learned.

    Args:
        place: a path, or a descriptor.
    """
    room = ctypes.create_string_buffer(_STATFS_BYTES)
    failed = _LIBC.fstatfs(place, room) if isinstance(place, int) else _LIBC.statfs(os.fsencode(place), room)
    return None if failed else ctypes.c_long.from_buffer(room).value & _TYPE_BITS


def is_in_memory(descriptor: int) -> bool:
    """Whether an open file lies in memory, on no disk."""
    return type_of(descriptor) in _IN_MEMORY

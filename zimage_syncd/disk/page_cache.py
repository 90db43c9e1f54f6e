"""What of a file the page cache holds, as mincore(2) tells. Changes nothing."""

from __future__ import annotations

import ctypes
import mmap
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_FAILED = ctypes.c_void_p(-1).value


def resident_pages(descriptor: int, offset: int, length: int) -> int:
    """How many pages of a range are in memory; of a file that is not ours, the kernel says all.

    Args:
        descriptor: open for reading.
        offset: in bytes, a multiple of the page size.
        length: bytes, at least 1.

    Raises:
        OSError: the file cannot be mapped.
    """
    address = _LIBC.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
    if address == _FAILED:
        raise _last_error()
    try:
        pages = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
        if _LIBC.mincore(address, length, pages) != 0:
            raise _last_error()
    finally:
        _LIBC.munmap(address, length)
    return sum(page & 1 for page in pages.raw)


def is_untouched(descriptor: int, offset: int, length: int) -> bool:
    """Whether nothing of a range is in memory; False where that cannot be told."""
    try:
        return resident_pages(descriptor, offset, length) == 0
    except OSError:
        return False


def _last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))

"""Memory that a job used goes back to the system: the daemon waits for hours after it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

_LIBC = ctypes.CDLL(None)


def give_back(*forget: Callable[[], None]) -> None:
    """Frees what nobody refers to, and what the C library keeps of it (malloc_trim(3), where there is one).

    Args:
        forget: empty caches. Python gives memory back by the MiB, and a few small things in each keep all of it.
    """
    for empty in forget:
        empty()
    gc.collect()
    if hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)

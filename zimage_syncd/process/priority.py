"""Lowers the priority of threads that work while somebody else needs the machine.

A thread's own affair, as in ioprio_set(2) and Linux's setpriority(2): the rest of the process keeps its priority. There
is no way back without privileges, so only threads that end with their work call this.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading

_NICE = 10
"""What nice(1) gives without an argument."""

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
"""The number of the system call, which glibc has no function for (asm/unistd.h of each architecture)."""

_WHO_PROCESS = 1
_CLASS_IDLE = 3 << 13
"""IOPRIO_WHO_PROCESS and IOPRIO_CLASS_IDLE of linux/ioprio.h: served when nobody else asks the disk."""


def yield_to_others() -> None:
    """Gives the calling thread nice 10 and the idle I/O class, as far as the system lets it."""
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICE, os.getpriority(os.PRIO_PROCESS, thread)))
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None).syscall(ctypes.c_long(number), _WHO_PROCESS, thread, _CLASS_IDLE)

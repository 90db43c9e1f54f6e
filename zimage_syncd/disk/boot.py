"""The kernel's name for this boot: two processes that see the same one are on one kernel, in whatever containers."""

from __future__ import annotations

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """A UUID that the kernel makes at each start (random(4)); empty where it cannot be read."""
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""

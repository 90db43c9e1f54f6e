"""How much of the machine's memory is left for this process: what the kernel can free, within its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator

_UNLIMITED = 2**62
"""Version 1 says "no limit" by the largest multiple of a page below 2^63."""


def available_bytes(root: str = "/") -> int:
    """What can be allocated before the kernel has to end somebody.

    Page cache counts as free. Where /proc tells nothing, half of the machine's memory.

    Args:
        root: where /proc and /sys are.
    """
    free = _meminfo(os.path.join(root, "proc/meminfo"))
    if free is None:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(min([free, *_left_in_groups(root)]), 0)


def _meminfo(path: str) -> int | None:
    for line in _read(path).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _left_in_groups(root: str) -> Iterator[int]:
    """Of every control group above this process that has a limit (cgroups(7), both versions)."""
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            places = [os.path.join(root, "sys/fs/cgroup"), os.path.join(root, "sys/fs/cgroup/unified")]
            names = ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            places = [os.path.join(root, "sys/fs/cgroup/memory")]
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        for place in places:
            for group in _upwards(path):
                yield from _left_in(os.path.join(place, group), *names)


def _upwards(path: str) -> Iterator[str]:
    """A group and those that it is in, without the leading slash; in a container the path may name nothing there."""
    parts = [part for part in path.split("/") if part and part != ".."]
    for count in range(len(parts), -1, -1):
        yield "/".join(parts[:count])


def _left_in(group: str, limit_name: str, used_name: str) -> Iterator[int]:
    limit, used = _read(os.path.join(group, limit_name)).strip(), _read(os.path.join(group, used_name)).strip()
    if limit.isdecimal() and used.isdecimal() and int(limit) < _UNLIMITED:
        # Page cache is charged to the group, and given up before anybody is ended.
        yield int(limit) - int(used) + _file_cache(os.path.join(group, "memory.stat"))


def _file_cache(path: str) -> int:
    stat = dict(line.split(" ", 1) for line in _read(path).splitlines() if " " in line)
    total = 0
    for names in (("total_inactive_file", "inactive_file"), ("total_active_file", "active_file")):
        value = next((stat[name] for name in names if name in stat), "0")
        total += int(value) if value.isdecimal() else 0
    return total


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""

"""Whether the kernel's OOM killer has ended something: it sends SIGKILL, as anybody may, but it counts."""

from __future__ import annotations

import os
from collections.abc import Iterator

_COUNTER = "oom_kill"


def kills(root: str = "/") -> int:
    """How many processes of this control group were ended for want of memory, under whosever limit.

    cgroups(7), memory.events of version 2 and memory.oom_control of version 1; where neither can be read, what the
    whole machine has counted (proc_vmstat(5)), which others raise, too. A child starts in its parent's group.

    Args:
        root: where /proc and /sys are.

    Returns:
        A number that only grows; 0 where nothing counts.
    """
    for path in (*_group_files(root), os.path.join(root, "proc/vmstat")):
        for line in _read(path).splitlines():
            name, _, value = line.partition(" ")
            if name == _COUNTER and value.strip().isdecimal():
                return int(value)
    return 0


def _group_files(root: str) -> Iterator[str]:
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            place, name = "sys/fs/cgroup", "memory.events"
        elif "memory" in controllers.split(","):
            place, name = "sys/fs/cgroup/memory", "memory.oom_control"
        else:
            continue
        # In a container the path may be the host's, and the container's own group is mounted in the place of all.
        yield os.path.join(root, place, path.lstrip("/"), name)
        yield os.path.join(root, place, name)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""

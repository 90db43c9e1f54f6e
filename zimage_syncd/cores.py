"""How many cores this process may use: of the machine's, what it is bound to and what its control group allows."""

from __future__ import annotations

import math
import os

_ROOT = "/sys/fs/cgroup"
_OWN = "/proc/self/cgroup"


def usable_cores(root: str = _ROOT, own: str = _OWN) -> int:
    """At least 1. A quota (cpu.max of control groups v2, docs.kernel.org/admin-guide/cgroup-v2.html) is rounded up.

    Args:
        root: where control groups are mounted.
        own: what says which one is this process's.
    """
    bound = len(os.sched_getaffinity(0))
    return max(1, min([bound, *_quotas(root, _group(own))]))


def _group(own: str) -> str:
    """The path of this process's group below the root: the line of the one hierarchy that v2 has."""
    try:
        with open(own, encoding="utf-8", errors="surrogateescape") as file:
            return next((line[3:].strip() for line in file if line.startswith("0::")), "/")
    except OSError:
        return "/"


def _quotas(root: str, group: str) -> list[int]:
    """Cores that the group and each one above it allow; a container may see its own group as the root."""
    parts = [part for part in group.split("/") if part not in {"", ".", ".."}]
    places = [os.path.join(root, *parts[:depth], "cpu.max") for depth in range(len(parts) + 1)]
    return [cores for place in places if (cores := _quota(place)) is not None]


def _quota(place: str) -> int | None:
    """What a file `$MAX $PERIOD`, in microseconds, allows; None: everything, or nothing is known."""
    try:
        with open(place, encoding="ascii") as file:
            most, period = file.read(100).split()
        return math.ceil(int(most) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None

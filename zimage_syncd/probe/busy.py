"""Whether somebody else's work needs the GPU. Pure: facts in, a sentence out.

Thresholds are chosen so that a desktop or an idle notebook without a model is nobody's work, and a loaded model is
somebody's even while it waits for its next prompt.
"""

from __future__ import annotations

import statistics

from zimage_syncd.probe.gpu import Look

WORK_BYTES = 2**30
"""A CUDA process that holds at least this much has something loaded. A bare context takes 0.3 to 0.6 GB."""

UNSEEN_BYTES = 2 * 2**30
"""Memory that is used by nobody who can be seen. The driver itself keeps up to about 1 GB of a large card."""

HIGH_PERCENT = 30
"""Median utilisation from which on the GPU is at work. A desktop that is looked at stays below."""


def others_work(look: Look, needed_bytes: int) -> str:
    """What of somebody else is at work there; empty where nobody is.

    Args:
        look: the GPU, without this process group.
        needed_bytes: of its memory, for what is about to be done. Where that does not fit beside a CUDA process, also
            a small one counts: its end would make room.
    """
    compute = [process for process in look.processes if process.is_compute]
    least_bytes = WORK_BYTES if needed_bytes <= look.free_bytes else 1
    holders = [process for process in compute if (process.used_bytes or 0) >= least_bytes]
    if holders:
        most = max(holders, key=lambda process: process.used_bytes or 0)
        more = f", and {len(holders) - 1} more processes" if len(holders) > 1 else ""
        return f"process {most.pid} holds {_gb(most.used_bytes or 0)} of GPU memory{more}"
    known_bytes = sum(process.used_bytes or 0 for process in look.processes)
    unseen_bytes = look.total_bytes - look.free_bytes - known_bytes
    if unseen_bytes >= UNSEEN_BYTES:
        return f"{_gb(unseen_bytes)} of GPU memory are held by processes that cannot be seen from here"
    percent = statistics.median_low(look.utilisations) if look.utilisations else 0
    return f"the GPU is used {percent} % of the time" if percent >= HIGH_PERCENT else ""


def _gb(count_bytes: int) -> str:
    return f"{count_bytes / 10**9:.1f} GB"

"""What every thread of this process is doing."""

from __future__ import annotations

import sys
import threading
import traceback


def all_stacks(frames: int = 6) -> str:
    """Names of the threads, each with its innermost frames."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = []
    for ident, frame in sys._current_frames().items():
        stack = traceback.extract_stack(frame)[-frames:]
        where = " < ".join(f"{entry.name} {entry.filename[-40:]}:{entry.lineno}" for entry in reversed(stack))
        told.append(f"{names.get(ident, ident)}: {where}")
    return "\n".join(told)

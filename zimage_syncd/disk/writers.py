"""Which files somebody is writing, as /proc tells (proc_pid_fd(5), proc_pid_fdinfo(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


def is_written_below(directory: str, besides: str = "") -> bool:
    """Whether some process has a file below a directory open for writing.

    Processes of other users and other machines are not seen where this one may not look at them.

    Args:
        directory: absolute.
        besides: what is below this does not count.
    """
    top = os.path.realpath(directory) + "/"
    own = os.path.realpath(besides) + "/" if besides else None
    return any(
        place.startswith(top) and not (own is not None and place.startswith(own)) for place in _written(os.getpid())
    )


def _written(me: int) -> Iterator[str]:
    with os.scandir("/proc") as entries:
        numbers = [entry.name for entry in entries if entry.name.isdigit() and int(entry.name) != me]
    for number in numbers:
        with contextlib.suppress(OSError):  # it has ended since, or is somebody else's
            for descriptor in os.listdir(f"/proc/{number}/fd"):
                with contextlib.suppress(OSError):
                    place = os.readlink(f"/proc/{number}/fd/{descriptor}")
                    if place.startswith("/") and _is_for_writing(f"/proc/{number}/fdinfo/{descriptor}"):
                        yield place


def _is_for_writing(fdinfo: str) -> bool:
    with open(fdinfo, encoding="ascii") as file:
        flags = next((line for line in file if line.startswith("flags:")), "flags: 0")
    return int(flags.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY

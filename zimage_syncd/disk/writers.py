"""Whether somebody is writing below a directory.

The kernel says it of each file: a read lease is refused while any process has the file open for writing (fcntl(2),
F_SETLEASE), whoever that is. /proc is asked only where a file system or a missing capability refuses the question
itself: a hardened daemon is not shown what processes with more capabilities than its own have open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Iterator

from zimage_syncd.model.private import PARTIAL_PREFIX

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_written_below(directory: str, besides: str = "") -> bool:
    """Whether some process has a file below a directory open for writing; own partial files do not count.

    Where the kernel cannot be asked, processes that this one may not look at are not seen, and those of other machines
    never are.

    Args:
        directory: absolute.
        besides: what is below this does not count.
    """
    top, own = os.path.realpath(directory), os.path.realpath(besides) if besides else None
    is_sure = True
    for path in _files(top, own):
        answer = _is_written(path)
        if answer:
            return True
        is_sure = is_sure and answer is not None
    return not is_sure and any(_is_meant(place, top, own) for place in _written(os.getpid()))


def _files(directory: str, besides: str | None) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:  # it went, or is not for us to see
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.path != besides:
                    yield from _files(entry.path, besides)
            elif entry.is_file(follow_symlinks=False) and not entry.name.startswith(PARTIAL_PREFIX):
                yield entry.path


def _is_written(path: str) -> bool | None:
    """Whether a file is open for writing; None where the kernel does not say."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        # Who opens the file meanwhile makes the kernel send a signal: one that is ignored, unlike the usual SIGIO.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(descriptor)
    return False


def _is_meant(place: str, top: str, besides: str | None) -> bool:
    return place.startswith(f"{top}/") and not (besides is not None and place.startswith(f"{besides}/"))


def _written(me: int) -> Iterator[str]:
    """What other processes have open for writing, as /proc tells (proc_pid_fd(5), proc_pid_fdinfo(5))."""
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

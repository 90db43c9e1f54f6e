"""Takes away what `install` put onto a system disk and onto the disk that stays; never data, settings or manifests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time

from zimage_syncd.setup.boot import HOMES, LINK, PID_FILE
from zimage_syncd.setup.copied_file import COMPLETE
from zimage_syncd.setup.units import LISTS, MARK, UNITS
from zimage_syncd.setup.versions import VERSIONS

_STOP_S = 30.0
_LOOK_S = 0.1


def remove_from_system(root: str = "/") -> list[str]:
    """Stops the daemon, and removes units, lists and the command; returns paths of what was removed.

    Files that do not begin with this program's mark are somebody else's and stay.

    Args:
        root: of the system; on another one than the running one nothing is stopped.

    Raises:
        OSError: something cannot be removed.
    """
    written = _written(root)
    running = root == "/" and os.path.isdir("/run/systemd/system")
    names = [os.path.basename(path) for path in written if path.startswith(_in(root, UNITS))]
    if running and names:
        stopped = [name for name in names if not name.endswith(".mount") and "@" not in name]
        subprocess.run(["systemctl", "--quiet", "stop", *stopped], check=False, capture_output=True)
        # Not stopped: the data disk stays mounted.
        subprocess.run(["systemctl", "--quiet", "disable", *names], check=False, capture_output=True)
    elif root == "/":
        _end_background()
    for path in written:
        os.unlink(path)
    if running and names:
        subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True)
    link = _in(root, LINK)
    if os.path.islink(link) and os.readlink(link).startswith(f"{HOMES}/"):
        os.unlink(link)
        written.append(link)
    return written


def remove_from_disk(directory: str) -> list[str]:
    """Removes an installation's versions and its note of the cache; returns paths of what was removed.

    Raises:
        OSError: something cannot be removed.
    """
    removed = []
    if os.path.isdir(versions := os.path.join(directory, VERSIONS)):
        shutil.rmtree(versions)
        removed.append(versions)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, "identity.json"))
    with contextlib.suppress(OSError):  # somebody else's files are in it
        os.rmdir(directory)
    return removed


def copies_in(homes: str) -> list[str]:
    """Copies that were unpacked, and what was left of unpacking; nothing else that is in their directory."""
    names = sorted(os.listdir(homes)) if os.path.isdir(homes) else []
    places = [os.path.join(homes, name) for name in names]
    return [
        place
        for name, place in zip(names, places, strict=True)
        if name.startswith(".new.") or os.path.isfile(os.path.join(place, COMPLETE))
    ]


def remove_copies(homes: str, kept: str = "") -> None:
    """Removes copies, as far as that is possible; this process may run from one, and can then import nothing more.

    Args:
        homes: their directory.
        kept: the name of one that stays.
    """
    for place in copies_in(homes):
        if os.path.basename(place) != kept:
            shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not there, or somebody else's files are in it
        os.rmdir(homes)


def _written(root: str) -> list[str]:
    """The files in /etc that `install` wrote."""
    units = _in(root, UNITS)
    places = [os.path.join(units, name) for name in sorted(os.listdir(units))] if os.path.isdir(units) else []
    places += [_in(root, place) for place in LISTS.values()]
    return [place for place in places if _is_marked(place)]


def _is_marked(path: str) -> bool:
    if not os.path.isfile(path) or os.path.islink(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _end_background() -> None:
    """Ends a daemon of a copy's, and waits for its end."""
    try:
        with open(PID_FILE, encoding="ascii") as file:
            pid = int(file.read())
        if not os.readlink(f"/proc/{pid}/exe").startswith(f"{HOMES}/"):
            return
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return
    end_s = time.monotonic() + _STOP_S
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end_s:
        time.sleep(_LOOK_S)
    with contextlib.suppress(OSError):
        os.unlink(PID_FILE)


def _in(root: str, path: str) -> str:
    return root.rstrip("/") + path

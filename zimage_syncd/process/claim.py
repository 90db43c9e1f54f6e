"""One daemon a cache: a name in the abstract name space of Unix sockets, which goes with its process.

No lock file: an open file on the data disk would keep a person from unmounting it between two jobs. Processes in
another network name space (containers) do not see the name; the lock that each job takes on the disk keeps them apart.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import zlib

from zimage_syncd.model.failures import CacheBusy

_ROOM = "zimage-syncd/cache"
_HOST_CHARS = 40
"""A name has 107 bytes at most (unix(7))."""
_NAMES = "/proc/net/unix"


class CacheClaim:
    """Keeps other daemons away from a cache directory, from the first `hold` on until the process ends."""

    def __init__(self, directory: str) -> None:
        """Args: directory: cache.dir, which may not be there yet."""
        self._directory = directory
        self._held: dict[str, tuple[socket.socket, ...]] = {}

    def hold(self) -> None:
        """Claims the directory as it is now: another disk may have been mounted, or the directory been made.

        Raises:
            CacheBusy: another daemon has claimed it; names it.
        """
        name = f"{_ROOM}/{_place(self._directory)}"
        if name in self._held:
            return
        try:
            claimed = _bound(name)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise CacheBusy(self._directory, f"the daemon is {_holder(name)}") from error
            return  # a sandbox without Unix sockets: the lock that each job takes has to do
        host = re.sub(r"[^\w.-]", "", socket.gethostname())[:_HOST_CHARS]
        self._held[name] = (claimed, _bound(f"{name}/{os.getpid()}@{host}"))


def _place(directory: str) -> str:
    """The same for every path that leads to a directory, and another one on another disk."""
    missing: list[str] = []
    place = directory
    while True:
        try:
            status = os.stat(place)
        except OSError:
            place, name = os.path.split(place)
            missing.insert(0, name)
            if not name:
                return f"{zlib.crc32(directory.encode()):x}"
        else:
            rest = zlib.crc32("/".join(missing).encode())
            return f"{status.st_dev:x}-{status.st_ino:x}-{rest:x}"


def _bound(name: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        bound.bind(f"\0{name}")
    except OSError:
        bound.close()
        raise
    return bound


def _holder(name: str) -> str:
    """Who has bound a name, by the second name that it has bound for that."""
    try:
        with open(_NAMES, encoding="utf-8", errors="replace") as file:
            names = file.read()
    except OSError:
        names = ""
    found = re.search(rf"@{re.escape(name)}/(\d+)@([\w.-]*)$", names, flags=re.MULTILINE)
    return f"process {found[1]} on {found[2]}" if found else "a process that has not told its name yet"

"""Files on the system disk that set the variables by which libraries find the cache, for every session and shell.

Each begins with a line by which it is known again: what somebody else wrote is neither changed nor removed.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping

from zimage_syncd.model.failures import EnvironmentOccupied, UsageInvalid

MADE_HERE = "# Written by `zimage-syncd env --install`; `zimage-syncd env --remove` removes it."

_PLAIN = re.compile(r"[A-Za-z0-9/ _.,:+@%=-]+")
"""Nothing that one of the three readers of these files would take for more than itself."""

Read = Callable[[str], bytes | None]
"""A small file's content; None where there is none that can be read."""
Write = Callable[[str, bytes], None]
"""Writes a file durably, whole or not at all."""
Remove = Callable[[str], None]
"""Removes a file."""


class EnvironmentFiles:
    """The files of one system.

    Args:
        variables: by name.
        read: see `Read`.
        write: see `Write`.
        remove: see `Remove`.
        root: of the system, for tests.
    """

    def __init__(self, variables: Mapping[str, str], read: Read, write: Write, remove: Remove, root: str = "/") -> None:
        self._variables = variables
        self._read = read
        self._write = write
        self._remove = remove
        self._root = root

    def install(self) -> list[str]:
        """Writes what is missing or has other values; returns the paths of what was written.

        Raises:
            EnvironmentOccupied: somebody else's file lies at one of the places; no file was written.
            UsageInvalid: a value cannot be written into such files.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        wanted = self._wanted()
        for path in wanted:
            found = self._read(path)
            if (found is None and os.path.lexists(path)) or (found is not None and not _is_ours(found)):
                raise EnvironmentOccupied(path, "expected nothing, or a file that `zimage-syncd env --install` wrote")
        written = []
        for path, text in wanted.items():
            if self._read(path) != text:
                self._write(path, text)
                written.append(path)
        return written

    def remove(self) -> list[str]:
        """Removes them; returns the paths of what was removed. Somebody else's files stay.

        Raises:
            PathUnwritable, DiskError: as their names say.
        """
        removed = []
        for path in (*self._always(), self._fish()):
            found = self._read(path)
            if found is not None and _is_ours(found):
                self._remove(path)
                removed.append(path)
        return removed

    def _wanted(self) -> dict[str, bytes]:
        for name, value in self._variables.items():
            if not _PLAIN.fullmatch(value):
                raise UsageInvalid(value, f"{name} has characters that environment files cannot hold")
        session, profile = self._always()
        quoted = {name: f'"{value}"' for name, value in self._variables.items()}
        wanted = {
            session: [f"{name}={value}" for name, value in quoted.items()],
            profile: [f"export {name}={shlex.quote(value)}" for name, value in self._variables.items()],
        }
        if os.path.isdir(os.path.dirname(os.path.dirname(self._fish()))):
            wanted[self._fish()] = [f"set -gx {name} {value}" for name, value in quoted.items()]
        return {path: "\n".join([MADE_HERE, *lines, ""]).encode() for path, lines in wanted.items()}

    def _always(self) -> tuple[str, str]:
        """For sessions and services of users (environment.d(5)), and for login shells."""
        names = ("etc/environment.d/60-zimage-syncd.conf", "etc/profile.d/zimage-syncd.sh")
        session, profile = (os.path.join(self._root, name) for name in names)
        return session, profile

    def _fish(self) -> str:
        """Where fish is installed, its own."""
        return os.path.join(self._root, "etc/fish/conf.d/zimage-syncd.fish")


def _is_ours(content: bytes) -> bool:
    return content.startswith(MADE_HERE.encode())

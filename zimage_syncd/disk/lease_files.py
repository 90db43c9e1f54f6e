"""The files that a lease is made of: created, never changed, listed, removed. No locks, no clocks, no times of files.

lease.<n>           the n-th holder of the disk, as `tenant.py` describes it
lease.<n>.<beat>    it lived; the beats count up
lease.<n>.done      it let go of the disk
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from zimage_syncd.disk.document import read_bytes
from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.tenant import MAX_BYTES
from zimage_syncd.model.failures import DiskError

_NAME = re.compile(r"lease\.(\d{1,15})(?:\.(\d{1,15}|done))?", re.ASCII)
_MOST_NAMES = 1_000
"""A holder leaves three names, and removes those of the ones before it."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The holder with the highest number: the one that counts."""

    number: int
    """From 1."""
    beat: int
    """Its last one; 0 where there is none."""
    is_done: bool
    """Whether it let go of the disk."""


def lease_name(number: int) -> str:
    """Of a holder's file."""
    return f"lease.{number}"


def beat_name(number: int, beat: int) -> str:
    """Of one sign of life."""
    return f"lease.{number}.{beat}"


def done_name(number: int) -> str:
    """Of the file by which a holder lets go."""
    return f"lease.{number}.done"


def newest_of(names: Iterable[str]) -> Newest | None:
    """What a directory's names say; None where nobody ever held the disk."""
    found = [match for match in map(_NAME.fullmatch, names) if match is not None]
    number = max((int(match[1]) for match in found), default=0)
    if number == 0:
        return None
    tails = [match[2] for match in found if int(match[1]) == number and match[2]]
    beats = [int(tail) for tail in tails if tail != "done"]
    return Newest(number, max(beats, default=0), "done" in tails)


def older_than(number: int, names: Iterable[str]) -> list[str]:
    """Names of holders before the one of a number."""
    return [name for name in names if (match := _NAME.fullmatch(name)) is not None and int(match[1]) < number]


class LeaseFiles(Protocol):
    """A directory that several hosts see."""

    def names(self) -> list[str]:
        """What is in it; nothing where it is not there."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None where it is not there or too large."""

    def create(self, name: str, data: bytes = b"") -> bool:
        """Creates a file; False where one of this name is there."""

    def remove(self, name: str) -> None:
        """Removes a file; does nothing where it is not there."""

    def refresh(self) -> None:
        """Lets the next `names` be the server's answer, and not what this host remembers of an earlier one."""


class LeaseDirectory:
    """A `LeaseFiles` on a mounted file system."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def make(self) -> None:
        """Makes the directory where it is missing.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        with translated(self.directory, writing=True):
            os.makedirs(self.directory, exist_ok=True)

    def names(self) -> list[str]:
        """What is in it.

        Raises:
            PathUnreadable, DiskError: it cannot be listed, or holds more than any holder leaves.
        """
        with translated(self.directory):
            try:
                with os.scandir(self.directory) as entries:
                    names = [entry.name for entry in itertools.islice(entries, _MOST_NAMES + 1)]
            except FileNotFoundError:
                return []
        if len(names) > _MOST_NAMES:
            raise DiskError(self.directory, f"expected a few files, found more than {_MOST_NAMES}")
        return names

    def read(self, name: str) -> bytes | None:
        """A file's content."""
        return read_bytes(os.path.join(self.directory, name), MAX_BYTES)

    def create(self, name: str, data: bytes = b"") -> bool:
        """Creates a file, which is exclusive on every file system that other hosts reach (open(2): O_EXCL; NFS 3).

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say; nothing is left.
        """
        place = os.path.join(self.directory, name)
        with translated(place, writing=True):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(place, flags, 0o644)
            except FileExistsError:
                return False
            try:
                if data:
                    os.write(descriptor, data)
                    os.fsync(descriptor)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(place)
                raise
            finally:
                os.close(descriptor)
        return True

    def remove(self, name: str) -> None:
        """Removes a file.

        Raises:
            PathUnwritable, DataDiskReadOnly, DiskError: as their names say.
        """
        place = os.path.join(self.directory, name)
        with translated(place, writing=True), contextlib.suppress(FileNotFoundError):
            os.unlink(place)

    def refresh(self) -> None:
        """Changes the directory, so that an NFS client drops what it remembers of it (nfs(5): attribute caching)."""
        name = f"look.{secrets.token_hex(8)}"
        self.create(name)
        self.remove(name)

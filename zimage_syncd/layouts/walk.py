"""Walks cache directories without following symlinks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.model.failures import DiskError, PathUnreadable

_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is no directory."""

    name: str
    """From the directory where the walk began."""
    mode: int
    """st_mode, with the file's type."""
    size_bytes: int
    """st_size."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symlink."""
        return stat.S_ISLNK(self.mode)


def walk(directory: str, prefix: str = "", depth: int = 0) -> Iterator[Found]:
    """Everything below a directory that is no directory, sorted; nothing where the directory is not there.

    Raises:
        PathUnreadable: a directory cannot be listed.
        DiskError: the disk fails, or directories are nested deeper than 64.
    """
    if depth > _MAX_DEPTH:
        raise DiskError(directory, f"directories are nested deeper than {_MAX_DEPTH}")
    for entry in entries(directory):
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path, f"{name}/", depth + 1)
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # it went while we walked
        yield Found(name, status.st_mode, status.st_size)


def entries(directory: str) -> list[os.DirEntry[str]]:
    """A directory's entries by name; none where it is not there or is no directory.

    Raises:
        PathUnreadable: it cannot be listed.
        DiskError: the disk fails.
    """
    try:
        if stat.S_ISLNK(os.lstat(directory).st_mode):
            return []
        with os.scandir(directory) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise PathUnreadable(directory, str(error.strerror)) from error
    except OSError as error:
        raise DiskError(directory, str(error.strerror)) from error


def directories(directory: str) -> list[str]:
    """Names of the real directories in a directory, sorted."""
    return [entry.name for entry in entries(directory) if entry.is_dir(follow_symlinks=False)]


def read_small(path: str, max_bytes: int) -> bytes | None:
    """A small regular file's content; None where it is absent, too large, something else, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
            return None
        data = b""
        while len(data) <= max_bytes and (piece := os.read(descriptor, 2**20)):
            data += piece
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data if len(data) <= max_bytes else None

"""Walks cache directories without following symlinks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from zimage_syncd.model.failures import DiskError, Failure, PathUnreadable

OnTrouble: TypeAlias = Callable[[Failure], None]
"""Is told of a directory that cannot be listed, and raises where that is to end the search."""

_MAX_DEPTH = 64


@dataclass(slots=True)
class Found:
    """Something that is no directory, or a directory that could not be listed."""

    name: str
    """From the directory where the walk began."""
    mode: int
    """st_mode, with the file's type; 0 for a directory that could not be listed."""
    size_bytes: int
    """st_size; 0 for a symlink."""
    trouble: str = ""
    """Why a directory could not be listed; empty for everything else."""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symlink."""
        return stat.S_ISLNK(self.mode)


def walk(directory: str, prefix: str = "", depth: int = 0) -> Iterator[Found]:
    """Everything below a directory that is no directory, sorted by name; nothing where it is not there.

    What cannot be listed is found, too, with its trouble: one bad directory does not hide the others.
    """
    if depth > _MAX_DEPTH:
        yield Found(prefix.rstrip("/"), 0, 0, f"directories are nested deeper than {_MAX_DEPTH}")
        return
    try:
        listed = sorted(_listed(directory), key=_place)
    except Failure as failure:
        yield Found(prefix.rstrip("/"), 0, 0, f"cannot be listed: {failure.detail}")
        return
    for entry in listed:
        name = prefix + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path, f"{name}/", depth + 1)
                continue
            if entry.is_symlink():
                yield Found(name, stat.S_IFLNK, 0)
                continue
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # it went while we walked
        except OSError as error:
            yield Found(name, 0, 0, f"cannot be looked at: {error.strerror}")
            continue
        yield Found(name, status.st_mode, status.st_size)


def _place(entry: os.DirEntry[str]) -> str:
    """A directory comes where what is in it does, so that all names come sorted."""
    try:
        return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
    except OSError:  # whoever looks at it meets that again
        return entry.name


def entries(directory: str) -> list[os.DirEntry[str]]:
    """A directory's entries by name; none where it is not there or is no directory.

    Raises:
        PathUnreadable: it cannot be listed.
        DiskError: the disk fails.
    """
    return sorted(_listed(directory), key=lambda entry: entry.name)


def names(directory: str) -> Iterator[str]:
    """The names of a directory's entries in any order, however many; none where it is not there or is no directory.

    Raises:
        PathUnreadable: it cannot be listed.
        DiskError: the disk fails.
    """
    return (entry.name for entry in _listed(directory))


def _listed(directory: str) -> Iterator[os.DirEntry[str]]:
    try:
        if stat.S_ISLNK(os.lstat(directory).st_mode):
            return
        with os.scandir(directory) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise PathUnreadable(directory, str(error.strerror)) from error
    except OSError as error:
        raise DiskError(directory, str(error.strerror)) from error


def refuse(failure: Failure) -> None:
    """Trouble with a directory ends the search."""
    raise failure


def directories(directory: str, on_trouble: OnTrouble = refuse) -> list[str]:
    """Names of the real directories in a directory, sorted; none where `on_trouble` passes over one.

    Args:
        directory: absolute path.
        on_trouble: is told that it cannot be listed.
    """
    try:
        return [entry.name for entry in entries(directory) if entry.is_dir(follow_symlinks=False)]
    except Failure as failure:
        on_trouble(failure)
        return []


def read_small(path: str, max_bytes: int) -> bytes | None:
    """A small regular file's content; None where it is absent, too large, something else, or cannot be read.

    Neither the file nor its directory may be a symlink: what they lead to is no part of the cache.
    """
    directory, _, name = path.rpartition("/")
    try:
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        finally:
            os.close(parent)
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


def shown(name: str) -> str:
    """A file's name as a message may bear it: a name with line ends or undecodable bytes is quoted and escaped."""
    return name if name.isprintable() else ascii(name)

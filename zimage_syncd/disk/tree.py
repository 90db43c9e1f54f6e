"""A directory tree that is walked without ever following a symlink.

Every path is opened part by part from the root's descriptor with O_NOFOLLOW, so neither a manifest nor somebody who
swaps a directory for a link while we work can lead us out of the root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.disk.errors import translated
from zimage_syncd.model.path import RelPath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who owns what is made; None leaves it to the process."""

    user_id: int
    """uid."""
    group_id: int
    """gid."""


class Tree:
    """A root directory and safe steps below it."""

    def __init__(self, root: str, ownership: Ownership | None = None) -> None:
        self.root = root
        self._ownership = ownership if os.geteuid() == 0 else None

    def absolute(self, path: str) -> str:
        """The absolute path, for messages."""
        return f"{self.root}/{path}"

    @contextlib.contextmanager
    def parent(self, path: RelPath, *, create: bool = False) -> Iterator[int]:
        """A descriptor of the directory that holds `path`, made with its parents where `create` says so.

        Raises:
            FileNotFoundError: a directory is missing and `create` is False.
            UnsafePath: a part of the path is a symlink or no directory.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        descriptor = os.open(self.root, _DIRECTORY)
        try:
            for depth, part in enumerate(path.parts[:-1]):
                where = self.absolute("/".join(path.parts[: depth + 1]))
                deeper = self._step(descriptor, part, where, create=create)
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)

    def _step(self, descriptor: int, part: str, where: str, *, create: bool) -> int:
        if create:
            with translated(where, writing=True), contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=descriptor)
                self.own(part, descriptor)
                os.fsync(descriptor)
        try:
            return os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        except FileNotFoundError:
            raise
        except OSError:
            with translated(where):
                raise

    def own(self, name: str | int, directory: int | None = None) -> None:
        """Gives what was just made to the configured owner (only root can)."""
        if self._ownership is None:
            return
        user_id, group_id = self._ownership.user_id, self._ownership.group_id
        if isinstance(name, int):
            os.fchown(name, user_id, group_id)
        else:
            os.chown(name, user_id, group_id, dir_fd=directory, follow_symlinks=False)

    def lstat(self, path: RelPath) -> os.stat_result | None:
        """What lies at `path` itself, or None.

        Raises:
            UnsafePath: a directory on the way is a symlink.
        """
        try:
            with self.parent(path) as directory, translated(self.absolute(path)):
                try:
                    return os.stat(path.name, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    return None
        except FileNotFoundError:
            return None

    def readlink(self, path: RelPath) -> str:
        """The text of the symlink at `path`."""
        with self.parent(path) as directory, translated(self.absolute(path)):
            return os.readlink(path.name, dir_fd=directory)

    def open_read(self, path: RelPath) -> int:
        """A descriptor for reading a regular file.

        Raises:
            FileNotFoundError: nothing is there.
            PathUnreadable, UnsafePath, DiskError: as their names say.
        """
        with self.parent(path) as directory:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                return os.open(path.name, flags, dir_fd=directory)
            except FileNotFoundError:
                raise
            except OSError:
                with translated(self.absolute(path)):
                    raise

    def names(self, directory: RelPath | None) -> list[str]:
        """Sorted names in a directory below the root (None: the root itself); empty where it is not there."""
        try:
            if directory is None:
                return sorted(os.listdir(self.root))
            with self.parent(directory.child("x")) as descriptor, translated(self.absolute(directory)):
                return sorted(os.listdir(descriptor))
        except FileNotFoundError:
            return []


def is_regular(status: os.stat_result) -> bool:
    """Whether it is a regular file."""
    return stat.S_ISREG(status.st_mode)


def is_link(status: os.stat_result) -> bool:
    """Whether it is a symlink."""
    return stat.S_ISLNK(status.st_mode)

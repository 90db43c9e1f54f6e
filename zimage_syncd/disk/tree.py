"""A directory tree that is walked without ever following a symlink.

Every path is opened without following a symlink below the root, in one call where the kernel can do that (openat2) and
else part by part with O_NOFOLLOW, so neither a manifest nor somebody who swaps a directory for a link
while we work can lead us out of the root. No descriptor is kept for the next path: its directory may have moved.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.disk.errors import translate, translated
from zimage_syncd.model.path import RelPath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})

_OPENAT2 = 437
"""openat2(2), the same number on every architecture; Linux 5.6 and later."""

_LIBC = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_AT_FDCWD = -100
_RESOLVE_NO_SYMLINKS = 0x04
_WITHOUT_LINKS = _OpenHow(_DIRECTORY, 0, _RESOLVE_NO_SYMLINKS)


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
        descriptor = self._open_parent(path, create=create)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_parent(self, path: RelPath, *, create: bool = False) -> int:
        directory = path.rpartition("/")[0]
        opened = None
        if directory:
            # What is missing without a link on the way is missing: a restore of 100,000 files meets each of them so.
            with contextlib.suppress(*((FileNotFoundError,) if create else ())):
                opened = _open_without_links(self.absolute(directory))
        if opened is not None:
            return opened
        descriptor = os.open(self.root, _DIRECTORY)  # the root itself may be reached through symlinks
        try:
            if not directory:
                return descriptor
            with contextlib.suppress(*((FileNotFoundError,) if create else ())):
                opened = _open_without_links(directory, descriptor)
            if opened is not None:
                os.close(descriptor)
                return opened
            # Part by part: to make what is missing, to name what is wrong, and where a kernel lacks openat2.
            parts = path.parts[:-1]
            for depth, part in enumerate(parts):
                where = self.absolute("/".join(parts[: depth + 1]))
                deeper = self._step(descriptor, part, where, create=create)
                os.close(descriptor)
                descriptor = deeper
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

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
        found = self.lstat_and_target(path)
        return None if found is None else found[0]

    def lstat_and_target(self, path: RelPath) -> tuple[os.stat_result, str | None] | None:
        """The same, with the text of a symlink (None: it is none), for one walk.

        Raises:
            UnsafePath: a directory on the way is a symlink.
        """
        try:
            directory = self._open_parent(path)
        except FileNotFoundError:
            return None
        try:
            status = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            return status, os.readlink(path.name, dir_fd=directory) if is_link(status) else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise translate(error, self.absolute(path), writing=False) from error
        finally:
            os.close(directory)

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


def _open_without_links(path: str, below: int = _AT_FDCWD) -> int | None:
    """Opens a directory in one call, if no part of its path is a symlink; None where the kernel refuses.

    Args:
        path: without `..`; absolute, or relative to `below`.
        below: a directory's descriptor.

    Raises:
        FileNotFoundError: a part of it is missing, and none before that is a symlink.
    """
    name = path.encode("utf-8", "surrogateescape")
    opened: int = _LIBC.syscall(_OPENAT2, below, name, ctypes.byref(_WITHOUT_LINKS), ctypes.sizeof(_WITHOUT_LINKS))
    if opened >= 0:
        return opened
    if ctypes.get_errno() == errno.ENOENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return None


def is_regular(status: os.stat_result) -> bool:
    """Whether it is a regular file."""
    return stat.S_ISREG(status.st_mode)


def is_link(status: os.stat_result) -> bool:
    """Whether it is a symlink."""
    return stat.S_ISLNK(status.st_mode)

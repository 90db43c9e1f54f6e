"""A real directory that lies where a cache link belongs, on its way into the cache: walked, read, emptied, exchanged.

Nothing is followed out of it, and nothing is removed that is not what was seen before.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import stat
from collections.abc import Iterator

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.links import aside_of, make_cache_link
from zimage_syncd.disk.one_place import mount_of
from zimage_syncd.disk.tree import Ownership, Tree, is_regular
from zimage_syncd.durability import sync_directory
from zimage_syncd.model.failures import LinkOccupied, UnsafePath
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import Absent, OldEntry, Other, Seen, SeenFile, SeenLink, file_stat

KEPT_SUFFIX = ".kept"
"""Beside the link: what the cache holds with another content, when all the rest was taken in."""

_MOST_KEPT = 1000
_EXCHANGE = 2
"""renameat2(2): RENAME_EXCHANGE (linux/fs.h)."""
_AT_FDCWD = -100
_STAYS = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EROFS})
"""What rmdir(2) says of a directory that holds something, or on which something is mounted."""
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_LIBC = ctypes.CDLL(None, use_errno=True)


class OldDirectory:
    """A directory with content, at its place or aside (see `ports.OldDirectory`)."""

    def __init__(self, place: str, target: str, below: str = "", ownership: Ownership | None = None) -> None:
        """Finds it: aside where an earlier run got so far, else at its place.

        Args:
            place: where the link belongs.
            target: where the link shall lead.
            below: which directory of the cache its content belongs into; empty: the cache directory itself.
            ownership: whose the link is.
        """
        self.place = place
        self._aside = aside_of(place)
        self._target = target
        self._below = f"{below}/" if below else ""
        self._ownership = ownership
        self.is_aside = os.path.isdir(self._aside) and not os.path.islink(self._aside)
        self._tree = Tree(self._aside if self.is_aside else place)

    @property
    def root(self) -> str:
        """Where it lies now."""
        return self._tree.root

    def walk(self) -> Iterator[OldEntry]:
        """Everything but directories, in order of paths; what is mounted below is one entry, and not looked into."""
        with translated(self.root):
            ground = _ground(self.root)
        yield from self._walk("", ground)

    def _walk(self, directory: str, ground: tuple[int, str]) -> Iterator[OldEntry]:
        names = self._tree.names(RelPath(directory) if directory else None)
        for name in names:
            path = RelPath(f"{directory}/{name}" if directory else name)
            found = self._tree.lstat_and_target(path)
            if found is None:
                continue  # removed since
            is_mounted = found[0].st_dev != ground[0] or self._is_mount_point(path, found[0], ground)
            if stat.S_ISDIR(found[0].st_mode) and not is_mounted:
                yield from self._walk(path, ground)
            else:
                seen = Other("a mounted file system") if is_mounted else _seen(*found)
                yield OldEntry(path, RelPath(self._below + path), seen)

    def _is_mount_point(self, path: RelPath, status: os.stat_result, ground: tuple[int, str]) -> bool:
        """Also of a part of the same file system, which `st_dev` does not show: it may be the cache's own."""
        if not stat.S_ISDIR(status.st_mode):
            return False
        with translated(self.absolute(path)), contextlib.suppress(FileNotFoundError):
            return _ground(self.absolute(path)) != ground
        return False  # removed since

    def look(self, entry: OldEntry) -> OldEntry:
        """The same entry as it is now."""
        found = self._tree.lstat_and_target(entry.path)
        return dataclasses.replace(entry, seen=Absent() if found is None else _seen(*found))

    def open_read(self, path: RelPath) -> int:
        """A descriptor of one of its files (see `ports.OldDirectory.open_read`)."""
        return self._tree.open_read(path)

    def absolute(self, path: RelPath) -> str:
        """Where one of its files lies now."""
        return self._tree.absolute(path)

    def device(self) -> int:
        """The `st_dev` of its file system."""
        with translated(self.root):
            return os.stat(self.root).st_dev

    def exchange(self) -> bool:
        """Lets the link take its place, in one step where the file system can; from then on it lies aside.

        Returns:
            False where it cannot be renamed: it is part of a container's image (overlayfs without redirect_dir).

        Raises:
            LinkOccupied: a file system is mounted there, or it is no directory any more.
            PathUnwritable, DataDiskReadOnly, DiskError: as their names say.
        """
        with translated(self.place, writing=True):
            status = os.lstat(self.place)
            if not stat.S_ISDIR(status.st_mode):
                raise LinkOccupied(self.place, "it was a directory, and is none any more")
            if _ground(self.place) != _ground(os.path.realpath(os.path.dirname(self.place))):
                raise LinkOccupied(self.place, "a file system is mounted there, which no link can replace")
            for left in (self._aside, _between(self._aside)):
                if os.path.islink(left):
                    os.unlink(left)  # a killed run's
            os.symlink(self._target, self._aside)
            try:
                if self._ownership is not None and os.geteuid() == 0:
                    os.lchown(self._aside, self._ownership.user_id, self._ownership.group_id)
                _exchange(self.place, self._aside)
            except OSError as error:
                os.unlink(self._aside)
                if error.errno == errno.EXDEV:
                    return False
                raise
            sync_directory(os.path.dirname(self.place))
        self.is_aside = True
        self._tree = Tree(self._aside)
        return True

    def remove(self, entry: OldEntry) -> None:
        """Removes a file or a link, unless it is not what was seen any more; nothing else."""
        if not isinstance(entry.seen, Other) and self.look(entry).is_as(entry.mark):
            with self._tree.parent(entry.path) as directory, translated(self.absolute(entry.path), writing=True):
                os.unlink(entry.path.name, dir_fd=directory)

    def remove_directories(self) -> bool:
        """Removes its empty directories, and itself where nothing is left; whether nothing is."""
        with translated(self.root, writing=True):
            _remove_empty(self.root, _ground(self.root))
        return not os.path.lexists(self.root)

    def make_link(self) -> None:
        """Makes the link where nothing lies any more, or still points elsewhere.

        Raises:
            LinkOccupied: somebody made something there since.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        make_cache_link(self.place, self._target, self._ownership)

    def link_again(self) -> bool:
        """Makes the link that belongs beside a directory that lies aside, if it is missing; whether it is there.

        A run may have been killed between two renames, and a library may have made a directory there since, which is to
        be taken in itself.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        if not os.path.islink(self.place):
            with contextlib.suppress(LinkOccupied):
                self.make_link()
        between = _between(self._aside)
        if os.path.islink(between):
            with translated(between, writing=True):
                os.unlink(between)
        return os.path.islink(self.place) and os.path.realpath(self.place) == os.path.realpath(self._target)

    def keep_rest(self) -> str:
        """Gives what is left a name that says so; returns it."""
        for number in range(1, _MOST_KEPT):
            kept = f"{self.place}{KEPT_SUFFIX}" + (f"-{number}" if number > 1 else "")
            if not os.path.lexists(kept):
                with translated(kept, writing=True):
                    os.rename(self.root, kept)
                    sync_directory(os.path.dirname(kept))
                self._tree = Tree(kept)
                return kept
        raise UnsafePath(self.place, f"there are {_MOST_KEPT} directories {self.place}{KEPT_SUFFIX}… already")


def _exchange(one: str, other: str) -> None:
    """Exchanges two names in one step; where the file system knows no such thing, in two that follow at once."""
    names = os.fsencode(one), os.fsencode(other)
    if _LIBC.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code not in _NO_EXCHANGE:
        raise OSError(code, os.strerror(code), one)
    between = _between(other)
    os.rename(other, between)
    try:
        os.rename(one, other)
        os.rename(between, one)
    except OSError:
        if not os.path.lexists(one):
            os.rename(other, one)
        os.rename(between, other)
        raise


def _remove_empty(directory: str, ground: tuple[int, str]) -> None:
    """Never enters what is mounted below."""
    with os.scandir(directory) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for path in below:
        if _ground(path) == ground:
            _remove_empty(path, ground)
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno not in _STAYS:
            raise


def _ground(directory: str) -> tuple[int, str]:
    """What a directory lies on: its file system, and by which mount. Each alone does not tell it from another one."""
    return os.lstat(directory).st_dev, mount_of(directory)


def _between(aside: str) -> str:
    return f"{aside}-link"


def _seen(status: os.stat_result, target: str | None) -> Seen:
    if target is not None:
        return SeenLink(target)
    return SeenFile(file_stat(status)) if is_regular(status) else Other("a special file")

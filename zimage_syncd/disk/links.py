"""Cache links: symlinks on the system disk that lead libraries to the cache directory.

Never replaces anything but a symlink that this cache owns or one that leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import threading

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.one_place import is_one
from zimage_syncd.disk.tree import Ownership
from zimage_syncd.durability import sync_directory
from zimage_syncd.model.failures import LinkOccupied
from zimage_syncd.model.observation import LinkFacts, LinkKind
from zimage_syncd.model.private import PARTIAL_PREFIX

_TEMPORARY_SUFFIX = ".partial"
_NO_WAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Nothing can lie there: a directory above is missing, a file, or a link to itself."""
_ONE_AT_A_TIME = threading.Lock()
"""The daemon's watch and its cycle make links in two threads: neither shall sweep what the other one is making."""


ASIDE_SUFFIX = ".taking-in"
"""Beside a link: the directory that lay in its place, until everything in it is in the cache."""


def aside_of(path: str) -> str:
    """Where the directory lies that a link has replaced, while it is taken in."""
    return f"{path}{ASIDE_SUFFIX}"


def observe_link(path: str, cache_dir: str = "") -> LinkFacts:
    """What lies where a cache link belongs.

    Args:
        path: where.
        cache_dir: the cache directory, which may be there by another mount.

    Raises:
        PathUnreadable, UnsafePath, DiskError: its directory cannot be looked at.
    """
    with translated(path):
        try:
            status = os.lstat(path)
        except OSError as error:
            if error.errno in _NO_WAY:
                return LinkFacts(path, LinkKind.ABSENT)
            raise
        if stat.S_ISLNK(status.st_mode):
            aside = aside_of(path)
            has_aside = os.path.isdir(aside) and not os.path.islink(aside)
            resolved = os.path.realpath(cache_dir if is_one(path, cache_dir) else path)
            return LinkFacts(path, LinkKind.SYMLINK, os.readlink(path), resolved, has_aside)
        if stat.S_ISDIR(status.st_mode):
            if is_one(path, cache_dir):
                return LinkFacts(path, LinkKind.CACHE)
            with os.scandir(path) as entries:
                empty = next(entries, None) is None
            return LinkFacts(path, LinkKind.EMPTY_DIRECTORY if empty else LinkKind.DIRECTORY)
        return LinkFacts(path, LinkKind.OTHER)


def make_cache_link(path: str, target: str, ownership: Ownership | None = None) -> None:
    """Makes a cache link, or turns one that points elsewhere, in one step.

    An empty directory (as images ship it, or a library makes it at import) gives way; anything else stays. Where the
    path is the cache directory itself, by another mount, nothing is to be done.

    Args:
        path: where the libraries look.
        target: the cache directory, absolute.
        ownership: whose the link and directories above it are that have to be made; None, or where this process is
            not root: its own.

    Raises:
        LinkOccupied: a directory with content or a file lies there; it was not touched.
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    facts = observe_link(path, target)
    if facts.kind is LinkKind.CACHE:
        return
    if facts.kind in {LinkKind.DIRECTORY, LinkKind.OTHER}:
        raise LinkOccupied(path, f"expected a symlink to {target}, found {facts.kind}")
    parent = os.path.dirname(path)
    temporary = os.path.join(parent, f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}")
    with _ONE_AT_A_TIME, translated(path, writing=True):
        owner = ownership if os.geteuid() == 0 else None
        _make_directories(parent, owner)
        _sweep(parent, target)
        if facts.kind is LinkKind.EMPTY_DIRECTORY:
            os.rmdir(path)
        os.symlink(target, temporary)
        try:
            if owner is not None:
                os.lchown(temporary, owner.user_id, owner.group_id)
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        sync_directory(parent)


def make_directory(path: str, ownership: Ownership | None = None) -> None:
    """Makes a directory and those above it, where they are missing.

    Args:
        path: absolute.
        ownership: whose they are; None, or where this process is not root: its own.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    with translated(path, writing=True):
        _make_directories(path, ownership if os.geteuid() == 0 else None)


def _sweep(parent: str, target: str) -> None:
    """Removes links that a killed process made and did not give their name."""
    with os.scandir(parent) as entries:
        names = [
            entry.path
            for entry in entries
            if entry.name.startswith(PARTIAL_PREFIX) and entry.name.endswith(_TEMPORARY_SUFFIX) and entry.is_symlink()
        ]
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(name) == target:
                os.unlink(name)


def _make_directories(path: str, owner: Ownership | None) -> None:
    if os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path), owner)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
        if owner is not None:
            os.chown(path, owner.user_id, owner.group_id)

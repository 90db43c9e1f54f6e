"""Collects an observation: disks, identity, mark and links, read and never changed."""

from __future__ import annotations

import os

from zimage_syncd.disk.boot import boot_id
from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.identity import identity_trouble, read_identity, read_mark
from zimage_syncd.disk.links import observe_link
from zimage_syncd.model.observation import Observation
from zimage_syncd.model.private import STATE_DIRECTORY


def observe(*, cache_dir: str, mount: str, links: tuple[str, ...], expected_id: str, state_dir: str) -> Observation:
    """Looks at everything that the decision about a reset rests on.

    Args:
        cache_dir: cache.dir, absolute.
        mount: cache.mount, or empty.
        links: cache.links.
        expected_id: cache.id, or empty.
        state_dir: daemon.state_dir on the system disk.

    Raises:
        PathUnreadable, DiskError: a place cannot be looked at.
    """
    present = os.path.isdir(cache_dir)
    mounted = not mount or is_mounted(mount)
    identity = read_identity(state_directory(cache_dir, mount))
    # In place of a disk that is missing the system disk would be measured.
    numbers = _file_system(mount or cache_dir) if mounted or identity is not None else None
    return Observation(
        cache_dir=cache_dir,
        cache_real=os.path.realpath(cache_dir),
        cache_present=present,
        cache_empty=present and _is_empty(cache_dir),
        mount=mount,
        mounted=mounted,
        read_only=numbers is not None and bool(numbers.f_flag & os.ST_RDONLY),
        free_bytes=0 if numbers is None else numbers.f_bavail * numbers.f_frsize,
        total_bytes=0 if numbers is None else numbers.f_blocks * numbers.f_frsize,
        identity=identity,
        identity_trouble=identity_trouble(state_directory(cache_dir, mount)),
        mark=read_mark(state_dir),
        expected_id=expected_id,
        links=tuple(observe_link(link, cache_dir) for link in links),
        boot_id=boot_id(),
        file_system=0 if numbers is None else numbers.f_fsid,
    )


def state_directory(cache_dir: str, mount: str) -> str:
    """The one `.zimage-syncd/` on the data disk."""
    return os.path.join(mount or cache_dir, STATE_DIRECTORY)


def is_mounted(path: str) -> bool:
    """Whether a file system is mounted at `path`: its device is not its parent's.

    A look into the mount table would not do: a hardened unit's own bind mounts are listed there, too.
    """
    try:
        return os.stat(path).st_dev != os.stat(os.path.join(path, os.pardir)).st_dev
    except OSError:
        return False


def disk_at(path: str) -> tuple[int, int, bool] | None:
    """What changes when another file system is mounted at a path, or the same in another way; None where it is gone."""
    numbers = _file_system(path)
    try:
        return None if numbers is None else (os.stat(path).st_dev, numbers.f_fsid, bool(numbers.f_flag & os.ST_RDONLY))
    except OSError:
        return None


def _file_system(path: str) -> os.statvfs_result | None:
    while True:
        try:
            return os.statvfs(path)
        except FileNotFoundError:
            if path in {"/", ""}:
                return None
            path = os.path.dirname(path)
        except OSError:
            return None


def _is_empty(path: str) -> bool:
    with translated(path), os.scandir(path) as entries:
        return all(entry.name == STATE_DIRECTORY for entry in entries)

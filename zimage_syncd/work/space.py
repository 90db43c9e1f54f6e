"""What room on the disk a job's actions take, and the refusal of what does not fit."""

from __future__ import annotations

from collections.abc import Iterable

from zimage_syncd.model.failures import NoSpace
from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.plan import Action, Fetch, Repair
from zimage_syncd.ports import Disk
from zimage_syncd.work.site import Site

_SPARE_BYTES = 16 * 2**20
"""Left free on top of what a restore needs: for directories, the ledger and reports."""


def needed_bytes(site: Site, actions: Iterable[Action], *, linked: bool) -> int:
    """Additional disk space that carrying the actions out takes at most.

    Args:
        site: the cache; what an entry's partial occupies already is not counted.
        actions: what is going to be done.
        linked: whether payload that is fetched arrives as a link.
    """
    total = 0
    for action in actions:
        if isinstance(action, Repair):
            total += _repair_bytes(site.disk, action)
        elif isinstance(action, Fetch) and not linked:
            total += _rest_bytes(site.disk, action.entry)
    return total


def _repair_bytes(disk: Disk, action: Repair) -> int:
    """A second copy of the file; where that shares the extents of the first, the chunks that are written anew."""
    entry = action.entry
    written = sum(entry.chunk_length(index) for index in action.chunks)
    rest = _rest_bytes(disk, entry)
    if written >= entry.size_bytes or not disk.can_reflink(f"{disk.root}/{entry.path}"):
        return rest
    # What a killed repair began may be shared to its end, or preallocated to somewhere.
    return max(written, rest) if disk.partial_bytes(entry.path) else written


def _rest_bytes(disk: Disk, entry: FileEntry) -> int:
    """What the file's partial does not occupy yet."""
    return max(0, entry.size_bytes - disk.partial_bytes(entry.path))


def with_spare(needed_bytes: int) -> int:
    """What has to be free for something that takes so many bytes: nothing for nothing."""
    return needed_bytes + _SPARE_BYTES if needed_bytes else 0


def check_space(site: Site, needed_bytes: int) -> None:
    """Refuses what the disk cannot take.

    Args:
        site: the cache.
        needed_bytes: what has to be free (see `with_spare`).

    Raises:
        NoSpace: with what it needs and what is free.
    """
    free_bytes = site.disk.free_bytes()
    if needed_bytes > free_bytes:
        raise NoSpace(site.disk.root, f"needs {needed_bytes:,} bytes, {free_bytes:,} are free")

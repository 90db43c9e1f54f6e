"""What room on the disk a job's actions take, and the refusal of what does not fit."""

from __future__ import annotations

from collections.abc import Iterable

from zimage_syncd.model.failures import NoSpace
from zimage_syncd.model.plan import Action, Fetch, Repair
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
        if isinstance(action, Repair) or (isinstance(action, Fetch) and not linked):
            total += max(0, action.entry.size_bytes - site.disk.partial_bytes(action.entry.path))
    return total


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

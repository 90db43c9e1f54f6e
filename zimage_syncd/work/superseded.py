"""Whether a snapshot that is gone was lost, or another one of its repository stands for it; one answer for all jobs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable

from zimage_syncd.model.snapshot import Incomplete, LayoutName, LocalSnapshot, SnapshotKey

ONE_DIRECTORY = frozenset({LayoutName.MODELSCOPE_LEGACY, LayoutName.MODELSCOPE_HUB_LEGACY})
"""Layouts in which all revisions of a repository lie in the same place."""


def superseded(
    keys: Iterable[SnapshotKey], local: Collection[LocalSnapshot], is_written: Callable[[], bool]
) -> frozenset[SnapshotKey]:
    """Those that are gone and are no loss: a library cleaned up, or downloaded another revision.

    An unfinished download stands for what was there before while somebody writes it, and where it lies in the same
    place: what it replaced shall not be put back over it.

    Args:
        keys: of snapshots that were there once.
        local: all that are there now.
        is_written: whether somebody writes to the cache; asked only where the answer depends on it.
    """
    present = {snapshot.key for snapshot in local}
    gone = [key for key in keys if key not in present]
    asked_once = functools.cache(is_written)
    return frozenset(key for key in gone if any(_stands(snapshot, key, asked_once) for snapshot in local))


def _stands(snapshot: LocalSnapshot, gone: SnapshotKey, is_written: Callable[[], bool]) -> bool:
    if (snapshot.key.layout, snapshot.key.repo) != (gone.layout, gone.repo):
        return False
    is_whole = not isinstance(snapshot.completeness, Incomplete)
    return is_whole or gone.layout in ONE_DIRECTORY or is_written()

"""Whether a data disk may be written to, and the identity that is written on the first use.

A missing data disk is never an empty cache: nothing is written into a bare mount point.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.identity import IDENTITY_NAME, new_id, write_identity, write_mark
from zimage_syncd.disk.observe import state_directory
from zimage_syncd.model.failures import (
    DataDiskForeign,
    DataDiskInUse,
    DataDiskMissing,
    DataDiskReadOnly,
    DataDiskUnknown,
)
from zimage_syncd.model.observation import Identity, Observation, SystemMark
from zimage_syncd.model.verdict import DataState, Verdict


def require_right_disk(seen: Observation, verdict: Verdict, *, writing: bool) -> None:
    """Refuses to work on the wrong disk.

    Raises:
        DataDiskMissing: cache.mount is no mount point and holds no identity.
        DataDiskForeign: the disk belongs to another cache.
        DataDiskUnknown: something is to be written, and the disk's identity cannot be understood.
        DataDiskReadOnly: something is to be written, and the file system does not take it.
        DataDiskInUse: something is to be written, and another host has the disk.
    """
    if DataState.MISSING in verdict.data:
        raise DataDiskMissing(seen.mount, "expected a mounted file system, found a plain directory or nothing")
    if DataState.FOREIGN in verdict.data:
        found = seen.identity.cache_id if seen.identity is not None else "nothing"
        raise DataDiskForeign(seen.mount or seen.cache_dir, f"expected cache {seen.expected_id}, found {found}")
    if writing and DataState.UNKNOWN in verdict.data:
        raise DataDiskUnknown(seen.mount or seen.cache_dir, seen.identity_trouble)
    if writing and DataState.READ_ONLY in verdict.data:
        raise DataDiskReadOnly(seen.mount or seen.cache_dir, "expected a file system that is mounted read-write")
    if writing and DataState.IN_USE in verdict.data:
        raise DataDiskInUse(seen.mount or seen.cache_dir, seen.in_use)


def ensure_identity(seen: Observation) -> Identity:
    """The disk's identity, written where there is none yet; makes the cache directory and the state directory.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    place = state_directory(seen.cache_dir, seen.mount)
    with translated(place, writing=True):
        os.makedirs(place, exist_ok=True)
        os.makedirs(seen.cache_dir, exist_ok=True)
    if seen.identity is not None:
        return seen.identity
    identity = Identity(seen.expected_id or new_id(), "", 0)
    write_identity(place, identity)
    return identity


def adopt_identity(seen: Observation, verdict: Verdict, now: datetime) -> tuple[str, ...]:
    """Takes a disk over whose identity names another cache, or cannot be understood; what it said is kept beside it.

    Args:
        seen: the disks.
        verdict: what that means.
        now: UTC, for the name of what is kept.

    Returns:
        Sentences about what was done; none where the disk is this cache's already.

    Raises:
        DataDiskMissing, DataDiskReadOnly: the disk cannot be written to.
        PathUnwritable, DeviceFull, DiskError: as their names say.
    """
    trouble = verdict.data & {DataState.FOREIGN, DataState.UNKNOWN}
    require_right_disk(seen, replace(verdict, data=verdict.data - trouble), writing=True)
    if not trouble:
        return ()
    place = state_directory(seen.cache_dir, seen.mount)
    kept = f"{os.path.join(place, IDENTITY_NAME)}.{now:%Y%m%dT%H%M%SZ}"
    with translated(kept, writing=True):
        os.rename(os.path.join(place, IDENTITY_NAME), kept)
    found = seen.identity.cache_id if seen.identity is not None else "unknown"
    cache_id = seen.expected_id or new_id()
    write_identity(place, Identity(cache_id, "", 0))
    return (f"{seen.mount or seen.cache_dir} was taken over: its cache is {cache_id} now, was {found} (see {kept})",)


def remember_each_other(seen: Observation, state_dir: str) -> None:
    """Lets data disk and system disk know each other, and counts this start on both.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    identity = ensure_identity(seen)
    mark = seen.mark.mark if seen.mark is not None else new_id()
    counter = max(identity.counter, seen.mark.counter if seen.mark is not None else 0) + 1
    write_mark(state_dir, SystemMark(mark, identity.cache_id, counter, seen.boot_id, seen.file_system))
    place = state_directory(seen.cache_dir, seen.mount)
    write_identity(place, Identity(identity.cache_id, mark, counter))

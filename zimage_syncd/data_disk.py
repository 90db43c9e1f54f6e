"""The data disk of one configuration: what happened to it, and whether this host may write to it now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from zimage_syncd.config import Config
from zimage_syncd.decide.detect import detect
from zimage_syncd.disk.guard import ensure_identity, require_right_disk
from zimage_syncd.disk.observe import observe, state_directory
from zimage_syncd.disk.shared_lease import SharedLease
from zimage_syncd.model.failures import DataDiskInUse
from zimage_syncd.model.observation import Observation
from zimage_syncd.model.verdict import DataState, Verdict
from zimage_syncd.ports import Cancel, Clock, Monitor

_LEASE_NAME = "lease"


class DataDisk:
    """Looked at, required and held.

    Args:
        config: what is configured.
        clock: time.
        monitor: is told what is waited for.
        cancel: a wish to stop.
        lease: what this process holds of the disk already; None: nothing.
    """

    def __init__(
        self, config: Config, clock: Clock, monitor: Monitor, cancel: Cancel, lease: SharedLease | None
    ) -> None:
        self._config = config
        self._monitor = monitor
        self._cancel = cancel
        cache = config.cache
        place = os.path.join(state_directory(cache.dir, cache.mount), _LEASE_NAME)
        self.lease = lease or SharedLease(cache.mount or cache.dir, place, clock)

    def observe(self) -> tuple[Observation, Verdict]:
        """What the disks look like now, and what that means.

        Raises:
            PathUnreadable, DiskError: a place cannot be looked at.
        """
        cache = self._config.cache
        seen = observe(
            cache_dir=cache.dir,
            mount=cache.mount,
            links=tuple(cache.links),
            expected_id=cache.id,
            state_dir=self._config.daemon.state_dir,
        )
        seen = replace(seen, in_use=str(self.lease.rival() or ""))
        return seen, detect(seen)

    def require(self) -> None:
        """Makes sure that the data disk's state may be written; for what is not the cache's, so without its lock.

        Raises:
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: this is not the disk to work on.
            DataDiskInUse: another host works on it.
        """
        seen, verdict = self.observe()
        require_right_disk(seen, verdict, writing=True)
        ensure_identity(seen)

    @contextlib.contextmanager
    def possessed(self, doing: str) -> Iterator[None]:
        """The right disk, with its identity, while no other host may write to it.

        Args:
            doing: what for; shown to other hosts.

        Raises:
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: this is not the disk to work on.
            DataDiskInUse: another host works on it.
            PathUnwritable, DeviceFull, DiskError: as their names say.
        """
        if DataState.IN_USE in self.observe()[1].data:
            self.lease.watch(self._cancel.check, self._monitor.note)
        require_right_disk(*self.observe(), writing=True)
        with self.lease.held(doing):
            ensure_identity(self.observe()[0])  # as it is now: another host may have been the first to use the disk
            yield

    def move_in(self) -> None:
        """Takes the disk for as long as the daemon lives; where another host has it, the next look says so.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: its lease could not be written.
        """
        if self.lease.is_lost:
            self.lease.release()
        if self.observe()[1].may_write:
            with contextlib.suppress(DataDiskInUse):
                self.lease.take("run")

"""The lease as a process has it: taken where other hosts reach the data disk, and beating until it lets go.

On a disk of this host's own nothing is ever written or looked at: the lock on it does.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.lease import DirectoryLease
from zimage_syncd.disk.lease_files import LeaseDirectory
from zimage_syncd.disk.lease_watched import Rival
from zimage_syncd.disk.network import is_network
from zimage_syncd.disk.tenant import Tenant, room, this_process
from zimage_syncd.model.failures import DataDiskTaken, Failure
from zimage_syncd.ports import Cancel, Clock

EXPIRY_S = 180.0
"""How long a holder's beats stand still before its disk is taken. NFS clients remember a directory for up to 60 s
(nfs(5): acdirmax), and a server that was started again lets nobody write for 90 s (nfsd's grace period)."""
_BEATS_AN_EXPIRY = 9
"""A beat every 20 s: several may come late, and whoever waits soon sees one."""
_LOOKS_A_BEAT = 10
_PATIENCE_S = 1.0
"""How long a release waits for a beat under way, which may hang in a dead mount."""


class SharedLease:
    """A `ports.Lease` of one process; safe to use from several threads.

    Args:
        subject: the data disk's path, for messages.
        directory: where the lease's files lie on it.
        clock: time.
        is_shared: whether other hosts may reach a path's file system.
        expiry_s: how long a holder's beats have to stand still before the disk is taken from it.
    """

    def __init__(
        self,
        subject: str,
        directory: str,
        clock: Clock,
        is_shared: Callable[[str], bool] = is_network,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        self._subject = subject
        self._files = LeaseDirectory(directory)
        self._clock = clock
        self._is_shared = is_shared
        self._beat_every_s = expiry_s / _BEATS_AN_EXPIRY
        self._lease = DirectoryLease(subject, self._files, self._describe, clock, expiry_s)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._resides = False

    @property
    def fence(self) -> int:
        """Part of the names of partial files."""
        return self._lease.fence

    @property
    def is_lost(self) -> bool:
        """Whether another host has taken over what this process held and has not let go of."""
        return self._lease.is_lost

    @property
    def room(self) -> str:
        """What the processes that one lease covers have in common (see `cache_lock`); empty on a local disk."""
        return room() if self._is_shared(self._subject) else ""

    def rival(self) -> Rival | None:
        """Another host that has the disk, as far as is known.

        Raises:
            PathUnreadable, DiskError: that cannot be found out.
        """
        return self._lease.rival() if self._is_shared(self._subject) else None

    def watch(self, check: Callable[[], None], tell: Callable[[str], None]) -> None:
        """Waits until another host is seen to live, or has let go, or its lease has expired; the daemon never waits.

        Args:
            check: called all the time; may raise to stop.
            tell: is told once what is waited for.
        """
        told = self._resides
        while not self._resides and (rival := self.rival()) is not None and not rival.is_seen_alive:
            if not told:
                told = True
                tell(f"the data disk is another host's, unless that one is gone; waiting for a sign of life: {rival}")
            check()
            self._clock.sleep(self._beat_every_s / _LOOKS_A_BEAT)

    def reside(self) -> None:
        """Says that this process is the daemon: it holds the disk while it lives, and looks again where others wait."""
        self._resides = True

    def take(self, doing: str) -> None:
        """Takes the disk; where this process has it already, makes sure that it still has.

        Raises:
            DataDiskInUse: another host has it.
            DataDiskTaken: it had it, and another host has taken it over.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        if self._lease.is_held or self._lease.is_lost:
            self._lease.confirm()
        elif self._is_shared(self._subject):
            self._files.make()
            self._lease.take("run" if self._resides else doing)
            self._begin()

    def release(self) -> None:
        """Lets go of the disk; where that cannot be told to others, the lease expires by itself."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)
            self._thread = None
        with contextlib.suppress(Failure):
            self._lease.release()

    @contextlib.contextmanager
    def held(self, doing: str) -> Iterator[None]:
        """Holds the disk for one job: for its duration, or as long as the daemon holds it anyway.

        Raises:
            DataDiskInUse, DataDiskTaken, PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as with `take`.
        """
        self.take(doing)
        try:
            yield
        finally:
            if not self._resides:
                self.release()

    def check(self) -> None:
        """Goes on unless the lease is known to be lost.

        Raises:
            DataDiskTaken: another host has taken the data disk over.
        """
        self._lease.check()

    def confirm(self, within_s: float = 0.0) -> None:
        """Looks whether this host still has the disk, unless it looked within so many seconds.

        Raises:
            DataDiskTaken: another host has taken the data disk over.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: it could not be looked at.
        """
        self._lease.confirm(within_s)

    def guarding(self, cancel: Cancel) -> Cancel:
        """A wish to stop that also ends a job whose disk was lost."""
        return _Guard(cancel, self)

    def _describe(self) -> Tenant:
        with translated(self._files.directory):
            return this_process(self._files.directory)

    def _begin(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(self._over,), name="lease", daemon=True)
        self._thread.start()

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(self._beat_every_s):
            try:
                self._lease.renew()
            except DataDiskTaken:
                return  # it is kept, and told to whoever asks
            except Failure:
                continue  # the server is away: others cannot write there either, or they see no beat


class _Guard:
    def __init__(self, cancel: Cancel, lease: SharedLease) -> None:
        self._cancel = cancel
        self._lease = lease

    def check(self) -> None:
        self._cancel.check()
        self._lease.check()

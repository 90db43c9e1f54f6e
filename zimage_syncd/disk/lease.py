"""The lease of a data disk that several hosts reach, out of created files alone; locks over NFS are not to be trusted.

The highest number owns. Who finds the disk free creates the next number, exclusively. Whether a holder lives only its
beats tell: they stand still for the expiry, by the observer's own monotonic clock. A holder that was suspended looks at
the numbers again before it publishes anything; a clone of it meets its own beats.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from zimage_syncd.disk.lease_files import LeaseFiles, Newest, beat_name, done_name, lease_name, newest_of, older_than
from zimage_syncd.disk.lease_watched import Rival, Watched
from zimage_syncd.disk.tenant import Kinship, Tenant, kinship
from zimage_syncd.model.failures import DataDiskInUse, DataDiskTaken, Failure
from zimage_syncd.ports import Clock

_ATTEMPTS = 8
"""Others may take the disk and let go of it between a look and a creation."""
_BEATS_KEPT = 2
"""A listing is not made in one moment: it might miss the beat that comes and the one that goes."""


class DirectoryLease:
    """One process's view of the lease in a directory; safe to use from several threads.

    Args:
        subject: the data disk's path, for messages.
        files: the directory.
        describe: what this process says of itself; `doing`, `since` and `fence` are filled in here.
        clock: time.
        expiry_s: how long the beats of a holder have to stand still before the disk may be taken from it.
        kin: what another tenant is to this process, the first and the second.
    """

    def __init__(
        self,
        subject: str,
        files: LeaseFiles,
        describe: Callable[[], Tenant],
        clock: Clock,
        expiry_s: float,
        kin: Callable[[Tenant, Tenant], Kinship] = kinship,
    ) -> None:
        self._subject = subject
        self._files = files
        self._describe = describe
        self._clock = clock
        self._kin = kin
        self._watched = Watched(clock, expiry_s)
        self._lock = threading.RLock()
        self._doing = ""
        self._number: int | None = None
        self._along_with = 0
        self._beat = 0
        self._confirmed_s = 0.0
        self._lost = ""
        self.is_held = False
        """Whether this host has the disk, through this process or one whose lease covers it."""
        self.fence = 0
        """Part of the names of partial files."""

    @property
    def is_lost(self) -> bool:
        """Whether another host has taken over what this process held and has not let go of."""
        return self._lost != ""

    def rival(self) -> Rival | None:
        """Another host that has the disk; None where it is free, this host's, or the other's lease has expired.

        Raises:
            PathUnreadable, DiskError: the directory cannot be looked at.
        """
        with self._lock:
            return self._rival(self._look())

    def take(self, doing: str) -> None:
        """Takes the disk, or goes along with a process of this host that has it.

        Args:
            doing: what for; shown to others.

        Raises:
            DataDiskInUse: another host has it, as far as is known.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say; nothing was taken.
        """
        with self._lock:
            self._doing = doing
            for _ in range(_ATTEMPTS):
                newest = self._look()
                rival = self._rival(newest)
                if rival is not None:
                    raise DataDiskInUse(self._subject, str(rival))
                if self._go_along(newest) or self._succeed(newest):
                    return
            raise DataDiskInUse(self._subject, "other hosts take it and let go of it all the time")

    def renew(self) -> None:
        """Beats, and looks whether this host still has the disk; does nothing where it is not held.

        Raises:
            DataDiskTaken: it has not; nothing may be published any more.
            PathUnwritable, PathUnreadable, DeviceFull, DataDiskReadOnly, DiskError: it could not be found out.
        """
        with self._lock:
            self.check()
            if not self.is_held:
                return
            beaten = self._number is None or self._gave_beat(self._number)
            newest = newest_of(self._files.names())
            if newest is None or newest.number != self._number:
                self._follow(newest)
            elif not beaten or newest.beat != self._beat:
                self._lose("a clone of this process beats in its name")
            self._confirmed_s = self._clock.monotonic_s()

    def check(self) -> None:
        """Goes on unless the disk is known to be lost.

        Raises:
            DataDiskTaken: it is.
        """
        if self._lost:
            raise DataDiskTaken(self._subject, self._lost)

    def confirm(self, within_s: float = 0.0) -> None:
        """As `renew`, unless the last look is no older than `within_s`."""
        self.check()
        if self._clock.monotonic_s() - self._confirmed_s >= within_s:
            self.renew()

    def release(self) -> None:
        """Lets go of the disk, also of one that was lost.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: it could not be told; the lease expires by itself.
        """
        with self._lock:
            number, is_lost = self._number, self.is_lost
            self.is_held, self._number, self._lost = False, None, ""
            if number is None or is_lost:
                return
            self._files.create(done_name(number))
            for beat in range(max(1, self._beat - _BEATS_KEPT), self._beat + 1):
                self._files.remove(beat_name(number, beat))

    def _look(self) -> Newest | None:
        return self._watched.look(self._files.names)

    def _rival(self, newest: Newest | None) -> Rival | None:
        if newest is None or newest.is_done or newest.number == self._number:
            return None
        tenant = self._tenant(newest)
        if self._kinship(tenant) is not Kinship.STRANGER or self._watched.has_expired:
            return None
        return Rival(tenant, self._watched.quiet_s, self._watched.is_seen_alive)

    def _tenant(self, newest: Newest) -> Tenant | None:
        return Tenant.from_bytes(self._files.read(lease_name(newest.number)))

    def _kinship(self, tenant: Tenant | None) -> Kinship:
        return Kinship.STRANGER if tenant is None else self._kin(tenant, self._describe())

    def _go_along(self, newest: Newest | None) -> bool:
        """Goes along with a process of this host that has the disk: the lock on it keeps the two apart."""
        tenant = None if newest is None or newest.is_done else self._tenant(newest)
        if newest is None or tenant is None or self._kinship(tenant) is not Kinship.LIVES:
            return False
        self._hold(None, tenant.fence)
        self._along_with = newest.number
        return True

    def _succeed(self, newest: Newest | None) -> bool:
        """Becomes the next holder; False where somebody else was faster, or the one before beats again."""
        if newest is None:
            return self._claim(1, 0)
        tenant = self._tenant(newest)
        number = newest.number + 1
        if tenant is not None and (newest.is_done or self._kinship(tenant) is Kinship.ENDED):
            return self._claim(number, tenant.fence)
        if not newest.is_done:
            self._files.refresh()
            if self._look() != newest:
                return False
        # The one before may be suspended, and write into its partial files when it goes on: they are not gone on with.
        return self._claim(number, number)

    def _claim(self, number: int, fence: int) -> bool:
        since = self._clock.now().isoformat(timespec="seconds")
        own = replace(self._describe(), doing=self._doing, since=since, fence=fence)
        if not self._files.create(lease_name(number), own.to_bytes()):
            return False
        names = self._files.names()
        newest = newest_of(names)
        if newest is None or newest.number != number:
            # This process was suspended since it looked; its number was taken, and has been swept away.
            self._files.remove(lease_name(number))
            return False
        self._hold(number, fence)
        for name in older_than(number, names):
            self._files.remove(name)
        return True

    def _hold(self, number: int | None, fence: int) -> None:
        self._number, self._beat, self._lost = number, 0, ""
        self.fence, self.is_held = fence, True
        self._confirmed_s = self._clock.monotonic_s()

    def _gave_beat(self, number: int) -> bool:
        # Counted before it is tried: what a server did before its answer was lost shall not be taken for a clone's.
        self._beat += 1
        try:
            if not self._files.create(beat_name(number, self._beat)):
                return False
        except Failure:
            if newest_of(self._files.names()) is None:
                self._lose("its lease is not there any more")  # the disk was unmounted, or replaced by another one
            raise
        if self._beat > _BEATS_KEPT:
            self._files.remove(beat_name(number, self._beat - _BEATS_KEPT))
        return True

    def _follow(self, newest: Newest | None) -> None:
        """Another number than this process's is the highest: that of the process it goes along with, or it has lost."""
        if newest is None:
            self._lose("its lease is not there any more")
            return
        tenant = self._tenant(newest)
        related = self._kinship(tenant)
        # Of a number that was skipped nobody can say any more whether it was another host's.
        is_next = self._number is None and newest.number - self._along_with in {0, 1}
        if tenant is not None and is_next and related is not Kinship.STRANGER:
            self._along_with = newest.number
            if related is Kinship.LIVES and not newest.is_done:
                return
            if self._claim(newest.number + 1, tenant.fence):
                return  # what it went along with has ended
        self._lose(f"it is held by {tenant or 'a host that has not told its name'} now")

    def _lose(self, why: str) -> None:
        self._lost, self.is_held = why, False
        self.check()

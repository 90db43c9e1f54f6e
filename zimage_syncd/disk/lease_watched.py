"""For how long somebody else's lease has stood still, by this host's own monotonic clock; and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zimage_syncd.disk.lease_files import Newest, newest_of
from zimage_syncd.disk.tenant import Tenant
from zimage_syncd.ports import Clock


@dataclass(frozen=True, slots=True)
class Rival:
    """Another host that has the disk, as far as is known."""

    tenant: Tenant | None
    """What it says of itself; None where that cannot be understood."""
    quiet_s: float
    """For how long it has been watched without a beat."""
    is_seen_alive: bool
    """Whether it was seen to beat."""

    def __str__(self) -> str:
        who = f"its lease is held by {self.tenant or 'a host that has not told its name'}"
        if self.is_seen_alive:
            return who
        return f"{who}; whether that one lives is not known yet ({self.quiet_s:.0f} s without a sign of life)"


class Watched:
    """For how long a holder has stood still, by this host's monotonic clock."""

    def __init__(self, clock: Clock, expiry_s: float) -> None:
        self._clock = clock
        self._expiry_s = expiry_s
        self._newest: Newest | None = None
        self._since_s: float | None = None
        self.quiet_s = 0.0
        self.is_seen_alive = False

    @property
    def has_expired(self) -> bool:
        """Whether the disk may be taken."""
        return self.quiet_s >= self._expiry_s

    def look(self, names: Callable[[], list[str]]) -> Newest | None:
        """The newest holder; the time that the listings themselves take counts for it."""
        before_s = self._clock.monotonic_s()
        newest = newest_of(names())
        if self._since_s is None or newest != self._newest:
            self.is_seen_alive = self._since_s is not None
            self._newest, self._since_s = newest, self._clock.monotonic_s()
            self.quiet_s = 0.0
        else:
            self.quiet_s = before_s - self._since_s
        return newest

"""The right of one host to write to a data disk that other hosts may reach, too."""

from __future__ import annotations

from typing import Protocol


class Lease(Protocol):
    """Held while a job works; may be lost to another host when this process stood still for too long."""

    @property
    def fence(self) -> int:
        """Part of the names of partial files; another one when the disk was taken from a host that had not let go."""

    def check(self) -> None:
        """Goes on unless the lease is known to be lost; looks at nothing, so it may be asked between chunks.

        Raises:
            DataDiskTaken: another host has taken the data disk over.
        """

    def confirm(self, within_s: float = 0.0) -> None:
        """Looks whether this host still has the disk; to be asked before anything is published.

        Args:
            within_s: a look that is no older than this will do.

        Raises:
            DataDiskTaken: another host has taken the data disk over.
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: it could not be looked at.
        """


class Unshared:
    """The lease of a disk that no other host reaches: there is nothing to hold, and nothing is written."""

    @property
    def fence(self) -> int:
        """The same for ever."""
        return 0

    def check(self) -> None:
        """Goes on."""

    def confirm(self, within_s: float = 0.0) -> None:
        """Goes on."""

"""What the commands need of the program: one method a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from zimage_syncd.config import Config
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.daemon.signals import Signals
from zimage_syncd.model.health import HealthLevel
from zimage_syncd.model.installation import Installed, Removed
from zimage_syncd.model.plan import LinkMode, Plan
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.status import HealthReport, SnapshotRow, Status


class Services(Protocol):
    """All jobs on one configuration; see `zimage_syncd.services`."""

    def backup(self, selection: Selection, *, accept_changed: bool) -> Report:
        """Cache → archives."""

    def restore(self, selection: Selection, *, source: str | None, to: str | None, mode: LinkMode | None) -> Report:
        """Stores → cache, or another directory."""

    def plan_restore(self, selection: Selection, *, source: str | None, to: str | None, mode: LinkMode | None) -> Plan:
        """What `restore` would do."""

    def verify(self, selection: Selection, *, deep: bool, repair: bool) -> Report:
        """Compares the cache with its last good manifests."""

    def verify_store(self, store: str, selection: Selection, *, deep: bool, repair: bool) -> Report:
        """Checks a store, and mends an archive from the cache where that is asked for."""

    def adopt(self, path: str | None) -> Report:
        """Takes the data disk over, and directories in."""

    def snapshots(self, store: str | None) -> list[SnapshotRow]:
        """What the cache and the stores hold."""

    def status(self) -> Status:
        """What the disk and the stores say now."""

    def health(self, selection: Selection, *, level: HealthLevel | None, full: bool) -> HealthReport:
        """Runs the probe."""

    def path(self, selection: Selection) -> str:
        """The directory that `from_pretrained` takes."""

    def environment(self) -> dict[str, str]:
        """The variables by which both libraries find the cache."""

    def install_environment(self) -> list[str]:
        """Writes files of these variables; returns their paths."""

    def remove_environment(self) -> list[str]:
        """Removes them; returns their paths."""

    def install(self, to: str | None) -> Installed:
        """Puts a copy of the program where it outlives a reset, and the units onto this system."""

    def uninstall(self) -> Removed:
        """Removes what `install` made, but for the unpacked copies."""

    def remove_copies(self) -> None:
        """Removes these; nothing can be imported afterwards, where the process runs from one."""

    def run(self, signals: Signals, pulse: Pulse, load: Callable[[], Config]) -> int:
        """The daemon; returns after SIGTERM."""

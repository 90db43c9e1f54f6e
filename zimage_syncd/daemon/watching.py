"""What the daemon notices between the clock's hours: lost links, mounts, finished downloads."""

from __future__ import annotations

from collections.abc import Callable

from zimage_syncd.daemon.duties import Duties
from zimage_syncd.daemon.settling import Settling
from zimage_syncd.daemon.tree_watch import TreeWatch
from zimage_syncd.daemon.watch import Watch
from zimage_syncd.logs import Logger
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import Clock
from zimage_syncd.work.apply import finding_of

BACKUP = "backup"
"""The job that a finished download asks for."""

_RETRY_S = 600.0
"""When a backup that failed is tried again, at the earliest."""


class Watching:
    """Of one configuration, between `start` and `stop`.

    Args:
        duties: what to do about what is noticed.
        cycle: asks for a cycle.
        backup: asks for a backup.
        warn: logs a finding.
        clock: the time.
        log: where it tells what it noticed.
    """

    def __init__(
        self,
        duties: Duties,
        cycle: Callable[[], None],
        backup: Callable[[], None],
        warn: Callable[[str, Finding], None],
        clock: Clock,
        log: Logger,
    ) -> None:
        self._duties = duties
        self._cycle = cycle
        self._backup = backup
        self._warn = warn
        self._log = log
        self._links = Watch(duties.links, self._keep_links, self._mounts_changed, log)
        self._settling = Settling(duties.settle_s, duties.is_written, clock)
        self._tree = TreeWatch(duties.cache, duties.state, self._settling.changed, log, duties.is_shared)
        self._disk = duties.disk()
        self._findings: list[Finding] = []
        self.is_begun = False
        """Whether it watches."""

    def start(self) -> None:
        """Begins."""
        self._links.start()
        self.is_begun = True

    def stop(self) -> None:
        """Ends all threads; does nothing before `start`."""
        if self.is_begun:
            self.is_begun = False
            self._tree.stop()
            self._links.stop()

    def ask(self) -> None:
        """Asks for a cycle if the data disk was taken, for a backup if a download settled; called every few seconds."""
        if not self.is_begun:
            return
        if self._duties.is_taken():
            self._log.warning("the data disk was taken over by another host")
            self._cycle()
        if BACKUP not in self._duties.jobs:
            return
        self._tree.ensure()
        if self._settling.take():
            self._backup()

    def put_off(self) -> None:
        """A backup did not run: it is wanted as soon as possible."""
        self._settling.changed()

    def failed(self) -> None:
        """A backup could not be made: it is tried again after a while."""
        self._settling.changed(_RETRY_S)

    def _mounts_changed(self) -> None:
        disk = self._duties.disk()
        if disk != self._disk:
            self._disk = disk
            self._log.info("the data disk was mounted, unmounted or replaced")
            self._cycle()

    def _keep_links(self) -> None:
        try:
            notes, findings = self._duties.keep_links()
        except Failure as failure:  # a disk that cannot be looked at, every few seconds anew: it is told once
            notes, findings = [], [finding_of(failure)]
        for note in notes:
            self._log.info("link", text=note)
        if findings != self._findings:
            self._findings = findings
            for finding in findings:
                if finding.problem is problems.LINK_OCCUPIED:
                    self._cycle()  # which takes a directory in, and tells of anything else
                else:
                    self._warn("links", finding)

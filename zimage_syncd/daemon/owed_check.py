"""Health checks that found the GPU busy are tried again later, so that the runner waits for nobody's work.

That one is wanted is kept on the data disk: a daemon that is started anew goes on trying.
"""

from __future__ import annotations

from zimage_syncd.daemon.state import LastRuns
from zimage_syncd.model import problems
from zimage_syncd.model.report import Report
from zimage_syncd.ports import Clock

PROVE = "health"
"""The job's name."""

LEAST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 900.0
"""Doubled each time up to this: work on a GPU takes minutes to days, and each attempt leaves a report."""


class OwedCheck:
    """Remembers whether a health check is owed, and when it is tried next."""

    def __init__(self, last_runs: LastRuns, clock: Clock) -> None:
        """Takes up what an earlier process has left.

        Args:
            last_runs: where it is kept.
            clock: the time.
        """
        self._last_runs = last_runs
        self._clock = clock
        self._pause_s: float | None = LEAST_PAUSE_S if last_runs.queued(PROVE) is not None else None
        self._since_s = clock.monotonic_s()

    def heard(self, report: Report) -> None:
        """Takes note of a report that a health check may be part of; only a busy GPU says anything."""
        busy = [finding.subject for finding in report.findings if finding.problem is problems.GPU_BUSY]
        if busy:
            self._pause_s = self._pause_s or LEAST_PAUSE_S
            self._since_s = self._clock.monotonic_s()
            self._last_runs.queue(PROVE, self._clock.now(), busy)

    def ended(self, report: Report) -> None:
        """Takes note of what the health check found that was tried again, and has been entered as done."""
        if any(finding.problem is problems.GPU_BUSY for finding in report.findings):
            self.heard(report)
        else:
            self._pause_s = None

    def take(self) -> bool:
        """Whether it is to be tried now; if so, the next attempt comes after twice the time, however this one ends."""
        if self._pause_s is None or self._clock.monotonic_s() - self._since_s < self._pause_s:
            return False
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._since_s = self._clock.monotonic_s()
        return True

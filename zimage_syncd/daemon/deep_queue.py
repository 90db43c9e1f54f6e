"""Deep verifications that restores ask for: what is linked was not read. Kept on the data disk until one has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from zimage_syncd.daemon.state import LastRuns
from zimage_syncd.model.failures import Failure
from zimage_syncd.model.report import Report
from zimage_syncd.ports import Clock

_DEEP = "deep"


class DeepQueue:
    """The queue of one data disk.

    Args:
        last_runs: where it is kept.
        clock: the time.
    """

    def __init__(self, last_runs: LastRuns, clock: Clock) -> None:
        self._last_runs = last_runs
        self._clock = clock

    def ask(self, restored: Report) -> list[str]:
        """Asks the daemon for a deep verification where a restore linked payload; returns what to tell of it."""
        linked = [result.snapshot for result in restored.snapshots if result.linked_bytes]
        if not linked:
            return []
        try:
            self._last_runs.queue(_DEEP, self._clock.now(), linked)
        except Failure as failure:
            return [f"a deep verification could not be queued: {failure}"]
        return ["a deep verification is queued: `zimage-syncd run` begins it within a minute"]

    def done(self, verified: Report, *, everything: bool) -> Report:
        """What a deep verification has covered need not be read again for an earlier restore's sake.

        Args:
            verified: its report.
            everything: whether nothing in particular was selected: then what is gone by now is done, too.

        Returns:
            The report, with a note where the queue could not be changed.
        """
        covered: Collection[str] | None = None
        if not everything:
            covered = [result.snapshot for result in verified.snapshots if result.action != "skipped"]
        try:
            self._last_runs.done(_DEEP, verified.started_at, covered)
        except Failure as failure:
            note = f"the deep verification that a restore asked for stays queued: {failure}"
            return replace(verified, notes=(*verified.notes, note))
        return verified

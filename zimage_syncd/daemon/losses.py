"""What a backup found gone: it is brought back now, and not with the clock's next verification."""

from __future__ import annotations

from zimage_syncd.model import problems
from zimage_syncd.model.report import Report

_LOSSES = frozenset({problems.FILE_MISSING, problems.POINTER_MISSING, problems.POINTER_DAMAGED})


class Losses:
    """Remembers what was gone: what nothing brings back asks for one verification, not for one after each change."""

    def __init__(self) -> None:
        self._gone: frozenset[str] = frozenset()

    def heard(self, report: Report) -> bool:
        """Whether something is gone that was not at the last backup.

        Args:
            report: of a backup.
        """
        before, self._gone = (
            self._gone,
            frozenset(
                finding.subject for finding in report.findings if finding.problem in _LOSSES and not finding.mended
            ),
        )
        return not self._gone <= before

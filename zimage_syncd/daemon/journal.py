"""What the daemon's log says of its work: one line for each thing that a person may look for."""

from __future__ import annotations

from zimage_syncd.logs import Logger
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.model.verdict import SystemState, Verdict

_SENTENCES = {
    SystemState.SAME: "this system disk is the one that was here before",
    SystemState.NEW: "this system disk is a new one: it was reset",
    SystemState.FIRST: "no system disk is known of before",
    SystemState.ROLLED_BACK: "this system disk is an older state of itself",
}


class Journal:
    """Writes verdicts and reports into a log."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._told: frozenset[str] = frozenset()
        """Evidence that is in the log already: the cycle's report has it, too."""

    def looked(self, verdict: Verdict) -> None:
        """What happened to the disks, and why that is thought."""
        self._told = frozenset(verdict.evidence)
        self._log.info(
            "disks looked at",
            text=_SENTENCES[verdict.system],
            system=str(verdict.system),
            data=sorted(verdict.data),
            cache=str(verdict.cache),
            boot=str(verdict.boot),
            links={path: str(state) for path, state in verdict.links},
            evidence=list(verdict.evidence),
        )

    def tell(self, report: Report) -> None:
        """What a job did and found."""
        for result in report.snapshots:
            self._log.info(
                "snapshot", job=str(report.job), snapshot=result.snapshot, action=result.action, detail=result.detail
            )
        for note in report.notes:
            if report.job is Job.CYCLE and note in self._told:
                continue
            self._log.info("note", job=str(report.job), text=note)
        for finding in report.findings:
            self.warn(str(report.job), finding)

    def warn(self, job: str, finding: Finding) -> None:
        """One finding, with what to do."""
        self._log.warning(
            "finding",
            job=job,
            code=finding.problem.code,
            problem=finding.problem.title,
            subject=finding.subject,
            detail=finding.detail,
            mended=finding.mended,
            remedy="" if finding.mended else finding.problem.remedy,
        )

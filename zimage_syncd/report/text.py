"""Reports for people: a few lines per snapshot, every finding with its remedy once, the verdict in words at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult
from zimage_syncd.report.words import count, duration, plain, size

_GOOD = {
    Job.BACKUP: "everything is backed up",
    Job.RESTORE: "everything is there and verified",
    Job.VERIFY: "no damage found",
    Job.VERIFY_STORE: "the store is good",
    Job.HEALTH: "healthy",
    Job.ADOPT: "the cache is where the libraries look",
    Job.CYCLE: "the cache is where the libraries look, and good",
}


def report_text(report: Report) -> str:
    """A report as lines."""
    return "\n".join(plain(line) for line in _lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    for result in report.snapshots:
        yield from _snapshot(result, report.elapsed_s)
    yield from report.notes
    yield from findings_lines(report.findings)
    yield _verdict(report)


def _snapshot(result: SnapshotResult, elapsed_s: float) -> Iterator[str]:
    contents = f", {count(result.files, 'file')}, {size(result.total_bytes)}" if result.files else ""
    yield f"{result.snapshot}: {result.action}{contents}"
    if result.detail:
        yield f"  {result.detail}"
    moved = list(_moved(result, elapsed_s))
    if moved:
        yield f"  {'; '.join(moved)}"
    if result.directory:
        yield f"  {result.directory}"


def _moved(result: SnapshotResult, elapsed_s: float) -> Iterator[str]:
    if result.checked_bytes:
        yield f"read {size(result.checked_bytes)}"
    if result.written_bytes:
        verb = "uploaded" if result.action.startswith("backed up") else "wrote"
        yield f"{verb} {size(result.written_bytes)} ({size(result.written_bytes / max(elapsed_s, 0.001))}/s)"
    for use in result.sources:
        yield f"{size(use.read_bytes)} from {use.source}"
    if result.linked_bytes:
        yield f"linked {size(result.linked_bytes)}"


def findings_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """Every finding on a line, then each problem's remedy once."""
    remedies: dict[str, str] = {}
    for finding in findings:
        detail = f": {finding.detail}" if finding.detail else ""
        mended = " [mended]" if finding.mended else ""
        yield f"{finding.problem.code} {finding.problem.title}: {finding.subject}{detail}{mended}"
        if not finding.mended:
            remedies[finding.problem.code] = finding.problem.remedy
    for code, remedy in remedies.items():
        yield f"  {code}: {remedy}"


def _verdict(report: Report) -> str:
    took = duration(report.elapsed_s)
    counted = [finding for finding in report.findings if finding.counts]
    if report.failed:
        words = f"nothing was backed up: {count(len(counted), 'problem')} found"
    elif counted:
        mended = sum(finding.mended for finding in counted)
        words = f"{count(len(counted), 'problem')} found, {mended} mended"
    elif report.job is Job.RESTORE and not report.snapshots:
        words = "nothing was restored"
    elif report.job is Job.RESTORE and all(result.action == "unchanged" for result in report.snapshots):
        words = "nothing to do: everything is there and right"
    elif report.job is Job.RESTORE and any(result.linked_bytes for result in report.snapshots):
        words = "everything is there; what is linked was not read: `zimage-syncd verify --deep` does"
    else:
        words = _GOOD[report.job]
    return f"{words} ({took})"

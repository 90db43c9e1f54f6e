"""Downloads that nobody goes on with. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from zimage_syncd.model import problems
from zimage_syncd.model.report import Finding

_NAMED = 3
"""How many of the reasons are told."""


def died(findings: Iterable[Finding], recorded: Collection[str]) -> tuple[Finding, ...]:
    """What is not complete while nobody writes there has died: one finding for each such snapshot.

    Args:
        findings: of a backup that was begun because the cache had settled.
        recorded: snapshots that were whole once: something of them was lost, and no download ended too soon.
    """
    reasons: dict[str, list[str]] = {}
    told: list[Finding | str] = []
    for finding in findings:
        if finding.problem is not problems.SNAPSHOT_INCOMPLETE or finding.subject in recorded:
            told.append(finding)
            continue
        if finding.subject not in reasons:
            told.append(finding.subject)
        reasons.setdefault(finding.subject, []).append(finding.detail)
    return tuple(_died(item, reasons[item]) if isinstance(item, str) else item for item in told)


def _died(snapshot: str, reasons: list[str]) -> Finding:
    more = f" (and {len(reasons) - _NAMED:,} more)" if len(reasons) > _NAMED else ""
    detail = f"nobody writes to it any more: {'; '.join(reasons[:_NAMED])}{more}"
    return Finding(problems.DOWNLOAD_DIED, snapshot, detail)

"""Collects what `status` and `snapshots` show: disk, links, cache, stores, the last reports."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime

from zimage_syncd.decide.trend import rows_of
from zimage_syncd.disk.lock import lock_holder
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, NotAnArchive
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import CannotTell, Complete, Incomplete, LocalSnapshot
from zimage_syncd.model.status import UNREACHABLE, LinkRow, SnapshotRow, Status, StoreRow
from zimage_syncd.model.verdict import DataState, LinkState, Verdict
from zimage_syncd.ports import SeenFile, SnapshotSource
from zimage_syncd.report.files import ReportFiles
from zimage_syncd.report.health_files import HealthFiles
from zimage_syncd.wiring import Workshop
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.site import Site, Survey

_REPORTS_SHOWN = 5
_CHECKS_READ = 60
"""Of all snapshots together: enough for the last of each, and for what is usual."""

_LINK_PROBLEMS = {
    LinkState.LOST: problems.LINK_LOST,
    LinkState.DANGLING: problems.CACHE_MISSING,
    LinkState.ELSEWHERE: problems.LINK_ELSEWHERE,
    LinkState.REAL_DIRECTORY: problems.LINK_OCCUPIED,
    LinkState.HALF_TAKEN: problems.TAKE_IN_KEPT,
}


def cache_rows(site: Site, survey: Survey) -> list[SnapshotRow]:
    """One row for each snapshot of the cache."""
    return [_cache_row(site, snapshot) for snapshot in survey.snapshots]


def _cache_row(site: Site, snapshot: LocalSnapshot) -> SnapshotRow:
    manifest = site.shelf.load(snapshot.key)
    state, detail = _completeness(snapshot)
    return SnapshotRow(
        place="cache",
        repo=str(snapshot.key.repo),
        revision=snapshot.key.revision,
        names=snapshot.names,
        layout=str(snapshot.key.layout),
        manifest_id="" if manifest is None else manifest.id,
        size_bytes=snapshot.size_bytes,
        files=len(snapshot.files),
        state=state,
        detail=detail,
        proof="" if manifest is None else str(manifest.proof),
        last_verified_at=_last_verified(site, snapshot),
    )


def _completeness(snapshot: LocalSnapshot) -> tuple[str, str]:
    match snapshot.completeness:
        case Complete(checked):
            return "complete", "; ".join(checked)
        case Incomplete(reasons):
            more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
            return "incomplete", "; ".join(reasons[:3]) + more
        case CannotTell(checked, unchecked):
            return "cannot tell", f"checked: {'; '.join(checked)}; not checked: {'; '.join(unchecked)}"


def _last_verified(site: Site, snapshot: LocalSnapshot) -> datetime | None:
    """The oldest of its files' times; None where one of them was never read whole, or changed since."""
    times = []
    for file in snapshot.files:
        seen = site.disk.look(file.path)
        known = site.ledger.lookup(file.path, seen.stat) if isinstance(seen, SeenFile) else None
        if known is None:
            return None
        times.append(known.verified_at)
    return min(times, default=None)


def store_rows(source: SnapshotSource) -> list[SnapshotRow]:
    """One row for each name in a store.

    Raises:
        Failure: the store cannot be asked.
    """
    rows = []
    for stored in source.snapshots():
        row = SnapshotRow(
            place=source.name,
            repo=str(stored.repo),
            revision=stored.name,
            names=(stored.name,),
            layout=str(stored.layout),
            manifest_id=stored.manifest_id,
            size_bytes=0,
            files=0,
            state="stored",
            detail=f"by {stored.host}" if stored.host else "",
            created_at=stored.created_at,
        )
        rows.append(row)
    return rows


def all_rows(workshop: Workshop) -> list[SnapshotRow]:
    """What the cache and every store hold; a row for each that cannot be asked."""
    rows = []
    with workshop.looking() as site:
        survey = site.survey()
        rows.extend(cache_rows(site, survey))
        rows.extend(unreachable_row("cache", failure) for failure in survey.troubles)
    for name in workshop.config.stores:
        try:
            rows.extend(store_rows(workshop.source(name)))
        except NotAnArchive:
            continue  # nothing was backed up yet
        except Failure as failure:
            rows.append(unreachable_row(name, failure))
    return rows


def collect_status(workshop: Workshop, reports: ReportFiles, health: HealthFiles) -> Status:
    """What disk, links, cache and stores look like now; what cannot be looked at is a finding."""
    seen, verdict = workshop.observe()
    findings = _disk_findings(workshop, verdict)
    snapshots: list[SnapshotRow] = []
    if seen.cache_present and not verdict.data & {DataState.MISSING, DataState.FOREIGN}:
        try:
            snapshots = _snapshots(workshop, findings)
        except Failure as failure:
            findings.append(finding_of(failure))
    stores = [_store_row(workshop, name, findings) for name in workshop.config.stores]
    targets = {link.path: link.target or str(link.kind) for link in seen.links}
    now = workshop.clock.now()
    return Status(
        cache_dir=seen.cache_dir,
        mount=seen.mount,
        disk=", ".join(sorted(verdict.data)),
        system=str(verdict.system),
        free_bytes=seen.free_bytes,
        total_bytes=seen.total_bytes,
        cache_id="" if seen.identity is None else seen.identity.cache_id,
        links=tuple(LinkRow(path, str(state), targets[path]) for path, state in verdict.links),
        snapshots=tuple(snapshots),
        stores=tuple(stores),
        lock_holder=lock_holder(workshop.state_directory, workshop.lease.room) or "",
        last_reports=tuple(reports.recent(_REPORTS_SHOWN)),
        findings=tuple(findings),
        health=rows_of(health.recent(_CHECKS_READ, now), now),
    )


def _snapshots(workshop: Workshop, findings: list[Finding]) -> list[SnapshotRow]:
    with workshop.looking() as site:
        survey = site.survey()
        snapshots = cache_rows(site, survey)
        present = {row.repo for row in snapshots}
        missing = [repo for repo in site.repos if str(repo) not in present and not survey.troubles]
    findings.extend(finding_of(failure) for failure in survey.troubles)
    findings.extend(Finding(problems.SNAPSHOT_MISSING, str(repo), site.disk.root) for repo in missing)
    findings.extend(
        Finding(problems.SNAPSHOT_INCOMPLETE, f"{row.repo}@{row.revision[:12]} ({row.layout})", row.detail)
        for row in snapshots
        if row.state == "incomplete"
    )
    return snapshots


def _disk_findings(workshop: Workshop, verdict: Verdict) -> list[Finding]:
    place = workshop.config.cache.mount or workshop.config.cache.dir
    kinds = {
        DataState.MISSING: problems.DATA_DISK_MISSING,
        DataState.FOREIGN: problems.DATA_DISK_FOREIGN,
        DataState.UNKNOWN: problems.DATA_DISK_UNKNOWN,
        DataState.READ_ONLY: problems.DATA_DISK_READ_ONLY,
        DataState.IN_USE: problems.DATA_DISK_IN_USE,
        DataState.FULL: problems.DEVICE_FULL,
    }
    findings = [
        Finding(kind, place, "; ".join(verdict.evidence)) for state, kind in kinds.items() if state in verdict.data
    ]
    if DataState.MISSING not in verdict.data and not os.path.isdir(workshop.config.cache.dir):
        findings.append(Finding(problems.CACHE_MISSING, workshop.config.cache.dir))
    findings.extend(
        Finding(_LINK_PROBLEMS[state], path, f"it is {state.words}")
        for path, state in verdict.links
        if state is not LinkState.GOOD
    )
    return findings


def unreachable_row(name: str, failure: Failure) -> SnapshotRow:
    """What stands in a list for a store that could not be asked."""
    return SnapshotRow(
        place=name,
        repo="",
        revision="",
        names=(),
        layout="",
        manifest_id="",
        size_bytes=0,
        files=0,
        state=UNREACHABLE,
        detail=f"{failure.problem.code} {failure}",
    )


def _store_row(workshop: Workshop, name: str, findings: list[Finding]) -> StoreRow:
    configured = workshop.config.stores[name]
    try:
        source = workshop.source(name)
        url = source.describe()
        source.snapshots()
    except NotAnArchive:
        return StoreRow(name, url, str(configured.kind), reachable=True, detail="the first backup makes the archive")
    except Failure as failure:
        finding = finding_of(failure)
        findings.append(replace(finding, subject=f"{name}: {finding.subject}"))
        detail = f"{finding.problem.title}: {finding.detail or finding.subject}"
        return StoreRow(name, configured.shown_url, str(configured.kind), reachable=False, detail=detail)
    return StoreRow(name, url, str(configured.kind), reachable=True)

"""Proves a snapshot by using it: the probe's result becomes a report."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from zimage_syncd.model import problems
from zimage_syncd.model.failures import CacheEmpty, Failure, PathUnreadable, SnapshotMissing
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, Placement, WhenBusy
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.problems import Problem
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import Incomplete, LocalSnapshot
from zimage_syncd.model.status import HealthReport
from zimage_syncd.ports import Probe
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.reference import Checked
from zimage_syncd.work.site import Site, Survey

_PROBLEMS: dict[HealthOutcome, Problem] = {
    HealthOutcome.WRONG_PICTURE: problems.WRONG_PICTURE,
    HealthOutcome.DIFFERENT_PICTURE: problems.DIFFERENT_PICTURE,
    HealthOutcome.NO_GPU: problems.NO_GPU,
    HealthOutcome.GPU_BUSY: problems.GPU_BUSY,
    HealthOutcome.OUT_OF_MEMORY: problems.OUT_OF_MEMORY,
    HealthOutcome.TIMEOUT: problems.PROBE_TIMEOUT,
    HealthOutcome.CRASHED: problems.PROBE_CRASHED,
    HealthOutcome.LOAD_FAILED: problems.LOAD_FAILED,
    HealthOutcome.FILES_DAMAGED: problems.HEADER_DAMAGED,
    HealthOutcome.MISSING_EXTRA: problems.PROBE_EXTRA_MISSING,
    HealthOutcome.NOT_APPLICABLE: problems.NOT_APPLICABLE,
}

_WORTH_TELLING_S = 0.05
"""What would be told as 0.0 s is in the record and in the JSON only."""

_PLACED: dict[Placement, str] = {
    Placement.COMPONENTS: "component by component",
    Placement.LAYERS: "layer by layer",
}
"""How a model was put into memory, where that is not simply all of it."""


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """How a health check is done."""

    level: HealthLevel
    """How much."""
    device: str
    """auto, cuda or cpu."""
    size_px: int
    """Width and height of the picture in pixels."""
    steps: int
    """Denoising steps."""
    timeout_s: float
    """For each snapshot, in seconds, without what it waits for the GPU."""
    pictures: str
    """Absolute path of the directory for pictures."""
    when_busy: WhenBusy = WhenBusy.WAIT
    """What to do while somebody else's work needs the GPU."""
    wait_s: float = 0.0
    """How long each snapshot's check waits for the GPU at most, in seconds."""


def _keep_nothing(_checked: Checked) -> list[str]:
    return []


def check_health(
    site: Site,
    probe: Probe,
    selection: Selection,
    settings: HealthSettings,
    keep: Callable[[Checked], list[str]] = _keep_nothing,
) -> HealthReport:
    """Checks every snapshot that is meant; returns what came out.

    Args:
        site: the cache.
        probe: does it.
        selection: which snapshots.
        settings: how.
        keep: is given every check that was done, and keeps of it what is to be kept; returns sentences for the report.

    Raises:
        SnapshotMissing, CacheEmpty: the cache has nothing that is meant.
        PathUnreadable, DiskError: nothing that could be found is meant, and a directory could not be listed.
        Stopped: somebody asked to stop; the probe's process group is gone.
    """
    started_at, started_s = site.clock.now(), site.clock.monotonic_s()
    survey = site.survey()
    meant = _meant(site, survey, selection)
    results: list[tuple[str, HealthResult]] = []
    rows: list[SnapshotResult] = []
    notes: list[str] = []
    findings: list[Finding] = [finding_of(failure) for failure in survey.troubles]
    for snapshot in meant:
        if isinstance(snapshot.completeness, Incomplete):
            findings.extend(_why_incomplete(site, snapshot, snapshot.completeness))
            continue
        site.monitor.note(f"health check of {snapshot.key}")
        at, manifest_id = site.clock.now(), _recorded_id(site, snapshot)
        request = _request(site, snapshot, settings, manifest_id, at)
        result = probe.run(request, settings.timeout_s + request.wait_s, site.cancel)
        notes.extend(keep(Checked(snapshot, manifest_id, _as_drawn(request, result), result, at)))
        results.append((str(snapshot.key), result))
        rows.append(_row(site, snapshot, result))
        problem = _PROBLEMS.get(result.outcome)
        if problem is not None:
            findings.append(Finding(problem, str(snapshot.key), result.detail))
    elapsed_s = site.clock.monotonic_s() - started_s
    report = Report(Job.HEALTH, started_at, elapsed_s, tuple(rows), tuple(findings), tuple(dict.fromkeys(notes)))
    return HealthReport(report, tuple(results))


def _as_drawn(request: HealthRequest, result: HealthResult) -> HealthRequest:
    """The request with the size and the steps that the picture really has."""
    return replace(request, size_px=result.drawn_px or request.size_px, steps=result.drawn_steps or request.steps)


def _why_incomplete(site: Site, snapshot: LocalSnapshot, answer: Incomplete) -> list[Finding]:
    """Files that cannot be read are told as such: no download brings their permissions back."""
    denied = os.strerror(errno.EACCES)
    findings = [finding for file in snapshot.files for finding in _unreadable(site, file.path)]
    reasons = [reason for reason in answer.reasons if not findings or denied not in reason]
    if reasons:
        findings.append(Finding(problems.SNAPSHOT_INCOMPLETE, str(snapshot.key), "; ".join(reasons[:5])))
    return findings


def _unreadable(site: Site, path: RelPath) -> list[Finding]:
    try:
        os.close(site.disk.open_read(path))
    except PathUnreadable as failure:
        return [finding_of(failure)]
    except (Failure, FileNotFoundError):
        return []  # what is wrong with it is among the reasons
    return []


def _meant(site: Site, survey: Survey, selection: Selection) -> Sequence[LocalSnapshot]:
    found = survey.snapshots
    meant = site.meant(selection, found)
    if not meant and survey.troubles:
        raise survey.troubles[0]  # nobody can tell what is in there
    if not found:
        raise CacheEmpty(site.disk.root)
    if not meant:
        wanted = str(selection.repo) if selection.repo else ", ".join(str(repo) for repo in site.repos)
        raise SnapshotMissing(wanted or "any snapshot", f"{site.disk.root} holds {len(found)} other snapshots")
    return meant


def _recorded_id(site: Site, snapshot: LocalSnapshot) -> str:
    """Of the last good manifest, which itself is not held while the probe runs: it may be large."""
    manifest = site.shelf.load(snapshot.key)
    return "" if manifest is None else manifest.id


def _request(
    site: Site, snapshot: LocalSnapshot, settings: HealthSettings, manifest_id: str, at: datetime
) -> HealthRequest:
    # Neither revision nor process is in a name: without the last part, two of one second would be one file.
    made = f"{at:%Y%m%dT%H%M%SZ}-{at.microsecond // 1000:03d}-{secrets.token_hex(4)}"
    name = f"{made}-{snapshot.key.repo.name.replace('/', '--')}-{snapshot.key.layout}"
    references = () if site.references is None or not manifest_id else site.references.load(manifest_id)
    return HealthRequest(
        directory=f"{site.disk.root}/{snapshot.directory}",
        layout=str(snapshot.key.layout),
        repo=str(snapshot.key.repo),
        revision=snapshot.key.revision,
        level=settings.level,
        device=settings.device,
        size_px=settings.size_px,
        steps=settings.steps,
        picture=os.path.join(settings.pictures, f"{name}.png"),
        references=references,
        side_by_side=os.path.join(settings.pictures, f"{name}-both.png"),
        when_busy=settings.when_busy,
        wait_s=settings.wait_s if settings.when_busy is WhenBusy.WAIT else 0.0,
    )


def _row(site: Site, snapshot: LocalSnapshot, result: HealthResult) -> SnapshotResult:
    took = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.timings_s if seconds >= _WORTH_TELLING_S)
    where = " ".join(part for part in (result.device, result.dtype, _PLACED.get(result.placement, "")) if part)
    parts = [result.detail, where, took]
    return SnapshotResult(
        str(snapshot.key),
        f"{result.outcome} ({result.level})",
        "; ".join(part for part in parts if part),
        files=len(snapshot.files),
        total_bytes=snapshot.size_bytes,
        directory=f"{site.disk.root}/{snapshot.directory}",
        picture=result.picture,
    )

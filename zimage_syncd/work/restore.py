"""Brings snapshots back from stores: plan, check the space, gather, link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Refuse, Repair, SetMode, SnapshotPlan
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult, SourceUse
from zimage_syncd.model.selection import Selection
from zimage_syncd.work.apply import Applied
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.names import shown
from zimage_syncd.work.restore_plan import RestoreSource, plan_restore
from zimage_syncd.work.site import Site
from zimage_syncd.work.space import check_space


def restore(
    site: Site, sources: Sequence[RestoreSource], selection: Selection, last_resort: LastResort | None = None
) -> Report:
    """Brings back what is meant; returns what happened. Its arguments are those of `plan_restore`.

    Raises:
        NoSpace: the disk cannot take it; nothing was written.
        Stopped: somebody asked to stop; the next run goes on from there.
        Failure: as `plan_restore`.
    """
    started_at, started_s = site.clock.now(), site.clock.monotonic_s()
    resort = last_resort or LastResort()
    prepared = plan_restore(site, sources, selection, resort)
    check_space(site, prepared.plan.needed_bytes)
    findings = list(prepared.findings)
    failed: dict[str, Finding] = {}
    brought: list[FileEntry] = []
    results = []
    for number, planned in enumerate(prepared.plan.snapshots, 1):
        snapshot, later = planned, prepared.plan.snapshots[number:]
        # Partials of what failed stay for the next run, those of later snapshots for this one.
        awaited = [*map(RelPath, failed), *(action.entry.path for plan in later for action in _gathered(plan))]
        if failed:
            actions = (_still_true(action, failed) for action in planned.actions)
            snapshot = replace(planned, actions=Actions(planned.manifest.entries, actions))
        results.append(
            _restore_one(site, sources, resort, snapshot, findings, awaited, failed, brought, last=not later)
        )
    elapsed_s = site.clock.monotonic_s() - started_s
    asked = ", ".join(f"{item.source.name} ({item.source.describe()})" for item in sources)
    notes = () if results else (f"no store holds a snapshot yet: asked {asked}",)
    return Report(Job.RESTORE, started_at, elapsed_s, tuple(results), tuple(findings), notes)


def _gathered(plan: SnapshotPlan) -> Iterator[Fetch | Repair]:
    return (action for action in plan.actions.changes() if isinstance(action, Fetch | Repair))


def _still_true(action: Action, failed: Mapping[str, Finding]) -> Action:
    """The action, unless it counts on payload that an earlier snapshot of the same plan should have brought."""
    missed = failed.get(action.entry.path)
    if missed is None or not isinstance(action, Keep):
        return action
    return Refuse(action.entry, missed.detail, missed.problem)


def _restore_one(
    site: Site,
    sources: Sequence[RestoreSource],
    last_resort: LastResort,
    plan: SnapshotPlan,
    findings: list[Finding],
    awaited: Sequence[RelPath],
    failed: dict[str, Finding],
    brought: list[FileEntry],
    *,
    last: bool,
) -> SnapshotResult:
    manifest = plan.manifest
    ordered = sorted(sources, key=lambda item: item.source.name != plan.source)
    site.monitor.begin(f"restore {manifest.key} from {plan.source}", _work_bytes(plan))
    stores = [item.source for item in ordered]
    chunk_sources = [*stores, *last_resort.sources(manifest)]
    done = site.applier().apply(plan, chunk_sources, awaited, brought, more_to_come=not last)
    site.monitor.finish()
    brought.extend(done.finished)
    findings.extend(done.findings)
    for path, missed in done.failed.items():
        if path not in failed:
            findings.append(replace(missed, subject=missed.subject.replace(path, shown(manifest, RelPath(path)))))
    failed.update(done.failed)
    if not done.failed:
        site.shelf.save(manifest)
    return _result(plan, done)


def _work_bytes(plan: SnapshotPlan) -> int:
    return sum(action.entry.size_bytes for action in _gathered(plan))


def _result(plan: SnapshotPlan, done: Applied) -> SnapshotResult:
    fetched = plan.actions.count(Fetch)
    mended = plan.actions.count(Repair) + plan.actions.count(SetMode)
    kept = plan.actions.count(Keep)
    if done.failed:
        action = "failed"
        detail = f"{len(done.failed)} of {len(plan.actions)} entries could not be brought back"
    elif not plan.is_empty:
        action = "restored"
        detail = f"{fetched} {'file' if fetched == 1 else 'files'} brought back, {mended} mended, "
        detail += f"{kept} {'entry was' if kept == 1 else 'entries were'} right"
    else:
        action = "unchanged"
        detail = "everything was there and right"
    if done.linked_files:
        detail += f"; {done.linked_files} linked: not read, so run verify --deep"
    if linked := plan.actions.count_kept("linked to "):
        detail += f"; {linked} are links into a store"
    return SnapshotResult(
        snapshot=str(plan.manifest.key),
        action=action,
        detail=detail,
        manifest_id=plan.manifest.id,
        files=len(plan.manifest.files),
        total_bytes=plan.manifest.size_bytes,
        checked_bytes=0,
        written_bytes=sum(done.gathered.read_bytes.values()),
        linked_bytes=done.linked_bytes,
        sources=tuple(SourceUse(name, count) for name, count in sorted(done.gathered.read_bytes.items())),
        directory=plan.directory,
    )

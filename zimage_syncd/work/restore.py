"""Brings snapshots back from stores: plan, check the space, gather, link."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Link, Refuse, Repair, SetMode, SnapshotPlan
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult, SourceUse
from zimage_syncd.model.selection import Selection
from zimage_syncd.work.apply import Applied
from zimage_syncd.work.carry import fetch_references
from zimage_syncd.work.kept_back import kept_back
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.names import Names
from zimage_syncd.work.restore_plan import RestoreSource, plan_restore
from zimage_syncd.work.site import Site
from zimage_syncd.work.space import check_space


@dataclass(slots=True)
class _SoFar:
    """What the restore of one snapshot has to know of the others."""

    findings: list[Finding]
    """All that was found."""
    failed: dict[str, Finding] = field(default_factory=dict)
    """Why entries were not brought back, by path."""
    brought: list[FileEntry] = field(default_factory=list)
    """Files that were: their chunks are at hand."""

    def add(self, manifest: Manifest, done: Applied) -> None:
        """Counts one snapshot's as done; what another one failed at before is told already."""
        fresh = {path: failure for path, failure in done.failed.items() if path not in self.failed}
        self.findings.extend([*done.findings, *_missed(manifest, fresh)])
        self.failed.update(done.failed)
        self.brought.extend(done.finished)

    def awaited(self, later: Sequence[SnapshotPlan]) -> Iterable[RelPath]:
        """Payload whose partials stay: what failed, for the next run, and what later snapshots bring, for this one."""
        return [*map(RelPath, self.failed), *(action.entry.path for plan in later for action in _gathered(plan))]


def restore(
    site: Site, sources: Sequence[RestoreSource], selection: Selection, last_resort: LastResort | None = None
) -> Report:
    """Brings back what is meant; returns what happened. Its arguments are those of `plan_restore`.

    Raises:
        NoSpace: the disk cannot take it; nothing was written.
        Stopped: somebody asked to stop; the next run goes on from there.
        DataDiskTaken: another host has taken the data disk over; no file got its name since.
        Failure: as `plan_restore`.
    """
    started_at, started_s = site.clock.now(), site.clock.monotonic_s()
    resort = last_resort or LastResort()
    prepared = plan_restore(site, sources, selection, resort)
    check_space(site, prepared.plan.needed_bytes)
    so_far = _SoFar(list(prepared.findings))
    results = []
    for number, planned in enumerate(prepared.plan.snapshots, 1):
        snapshot, later = planned, prepared.plan.snapshots[number:]
        if so_far.failed:
            actions = (_still_true(action, so_far.failed) for action in planned.actions)
            snapshot = replace(planned, actions=Actions(planned.manifest.entries, actions))
        results.append(_restore_one(site, sources, resort, snapshot, later, so_far))
    elapsed_s = site.clock.monotonic_s() - started_s
    asked = ", ".join(f"{item.source.name} ({item.source.describe()})" for item in sources)
    notes = prepared.plan.notes
    if not results and not notes:
        notes = (f"no store holds a snapshot yet: asked {asked}; download a model, then run `zimage-syncd backup`",)
    return Report(Job.RESTORE, started_at, elapsed_s, tuple(results), tuple(so_far.findings), notes)


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
    later: Sequence[SnapshotPlan],
    so_far: _SoFar,
) -> SnapshotResult:
    manifest = plan.manifest
    ordered = sorted(sources, key=lambda item: item.source.name != plan.source)
    site.monitor.begin(f"restore {manifest.key} from {plan.source}", _work_bytes(plan), restores=manifest.key)
    stores = [item.source for item in ordered]
    chunk_sources = [*stores, *last_resort.sources(manifest)]
    awaited = so_far.awaited(later)
    done = site.applier().apply(plan, chunk_sources, awaited, so_far.brought, more_to_come=bool(later))
    site.monitor.finish()
    so_far.add(manifest, done)
    if done.failed:
        return _result(plan, done)
    site.shelf.save(manifest)
    # Where everything is there already, so is the data disk, with the references that it ever had.
    came = "" if plan.is_empty else fetch_references(site, stores, manifest)
    result = _result(plan, done)
    return replace(result, detail=f"{result.detail}; {came}") if came else result


def _missed(manifest: Manifest, failed: Mapping[str, Finding]) -> list[Finding]:
    """A finding for each entry; where it is about something else, such as a store, one for all that it kept back."""
    found, names = [], Names(manifest)
    for item in kept_back(manifest, failed):
        path, failure = item.entries[0].path, item.failure
        if item.is_own:
            found.append(replace(failure, subject=failure.subject.replace(path, names.shown(path))))
            continue
        verb = "was" if len(item.entries) == 1 else "were"
        missed = f"{names.few(item.entries)} of {manifest.key} {verb} not brought back"
        found.append(replace(failure, detail=f"{failure.detail}; {missed}" if failure.detail else missed))
    return found


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
        made = plan.actions.count(Link)
        detail = f"{fetched} {'file' if fetched == 1 else 'files'} brought back, {mended} mended, "
        if not fetched and not mended:
            detail = f"{made} {'link or reference' if made == 1 else 'links and references'} brought back, "
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

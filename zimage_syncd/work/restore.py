"""Brings snapshots back from stores: examine, plan, check the space, gather, link.

The plan is data: `--dry-run` prints it, `restore` carries the same plan out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from zimage_syncd.model.failures import LinkModeUnsupported, NoSpace
from zimage_syncd.model.manifest import FileEntry, Manifest, PointerEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Fetch, Keep, Link, LinkMode, Plan, Refuse, Repair, SetMode, SnapshotPlan
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult, SourceUse
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import SnapshotSource
from zimage_syncd.work.apply import Applied
from zimage_syncd.work.choose import Chosen, choose
from zimage_syncd.work.examine import Depth, needed_bytes
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.names import shown
from zimage_syncd.work.site import Site

_SPARE_BYTES = 16 * 2**20
"""Left free on top of what a restore needs: for directories, the ledger and reports."""

_OWN_FILES = frozenset({LinkMode.COPY, LinkMode.REFLINK, LinkMode.HARDLINK})
"""Modes in which payload outlives the store that it came from."""


@dataclass(frozen=True, slots=True)
class RestoreSource:
    """A store and how its payload is to arrive."""

    source: SnapshotSource
    """The store."""
    mode: LinkMode
    """As configured for it, or as the command line says."""
    asked_for: bool = False
    """Whether a person named the mode for this restore: then links that are there give way to the cache's own files."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan and what was found while it was made."""

    plan: Plan
    """What is going to be done."""
    findings: tuple[Finding, ...]
    """Stores that could not be asked, and the like."""


def plan_restore(
    site: Site, sources: Sequence[RestoreSource], selection: Selection, last_resort: LastResort | None = None
) -> Prepared:
    """Looks at stores and cache, and says what a restore does. Writes nothing.

    Args:
        site: the cache.
        sources: stores, the nearest first.
        selection: which snapshots.
        last_resort: hubs for what the stores lack; None: the stores alone are asked.

    Raises:
        NotInStore: no store has what is meant; where nothing in particular is meant, that is an empty plan.
        LinkModeUnsupported: the store's payload cannot arrive in that mode.
        StoreUnreachable, StoreDenied, StoreMissing: no store could be asked.
    """

    def on_bytes(count: int) -> None:
        site.cancel.check()
        site.monitor.advance(count)

    site.monitor.begin("look at the stores", 0)
    # A cache that was ever recorded, or shall hold something, and finds all its stores empty is no beginning.
    beginning = selection == Selection() and not site.repos and not site.shelf.keys()
    stores = [item.source for item in sources]
    records = None if last_resort is None else last_resort.records
    choice = choose(stores, selection, site.repos, on_bytes, records, may_be_nothing=beginning)
    site.monitor.finish()
    planned: dict[str, str] = {}
    snapshots = []
    for chosen in _newest_first(site, choice.chosen):
        manifest = chosen.manifest
        configured = next(
            (item for item in sources if item.source is chosen.source), RestoreSource(chosen.source, LinkMode.AUTO)
        )
        mode = configured.mode
        own = configured.asked_for and mode in _OWN_FILES
        examiner = site.examiner(replace_dead_links=True, replace_links=own)
        site.monitor.begin(f"examine {manifest.key}", manifest.size_bytes)
        actions = examiner.examine(manifest, Depth.KNOWN)
        site.monitor.finish()
        _check_mode(chosen.source, mode)
        directory = f"{site.disk.root}/{site.layout_of(manifest.key).directory(manifest)}"
        actions = _without_stale(manifest, _without_repeats(actions, planned), choice.newest)
        snapshots.append(SnapshotPlan(manifest, chosen.source.name, mode, directory, tuple(actions)))
    needed = sum(_needed(site, snapshot, sources) for snapshot in snapshots)
    plan = Plan(tuple(snapshots), with_spare(needed), site.disk.free_bytes())
    return Prepared(plan, choice.findings)


def _newest_first(site: Site, chosen: Sequence[Chosen]) -> list[Chosen]:
    """The newest first, since a pointer that is there is not moved: an older commit may have had the same branch.

    Without those whose directory a newer one takes: ModelScope's old layouts have one for all revisions.
    """
    newest: dict[RelPath, Chosen] = {}
    for item in chosen:
        place = site.layout_of(item.manifest.key).directory(item.manifest)
        known = newest.get(place)
        if known is None or item.created_at > known.created_at:
            newest[place] = item
    return sorted(newest.values(), key=lambda item: item.created_at, reverse=True)


def _check_mode(source: SnapshotSource, mode: LinkMode) -> None:
    if mode not in {LinkMode.AUTO, LinkMode.COPY} and mode not in source.modes():
        possible = ", ".join(sorted({"auto", "copy", *source.modes()}))
        raise LinkModeUnsupported(f"{source.name} ({source.describe()})", f"{mode}; possible are {possible}")


def _without_stale(manifest: Manifest, actions: list[Action], newest: Mapping[SnapshotKey, str]) -> list[Action]:
    """No branch or tag is made that means another snapshot by now, as far as the stores know."""

    def one(action: Action) -> Action:
        _, found, name = action.entry.path.partition("/refs/")
        if not found or not isinstance(action, Link) or not isinstance(action.entry, PointerEntry):
            return action
        if newest.get(replace(manifest.key, revision=name), manifest.id) in {manifest.id, ""}:
            return action
        return Keep(action.entry, "this name means another snapshot by now")

    return [one(action) for action in actions]


def _without_repeats(actions: list[Action], planned: dict[str, str]) -> list[Action]:
    """Payload that an earlier snapshot of the same plan brings is not brought again."""
    result: list[Action] = []
    seen_before = frozenset(planned)
    for action in actions:
        if isinstance(action, Fetch | Repair):
            path, content = action.entry.path, action.entry.sha256
            if planned.setdefault(path, content) != content:
                result.append(Refuse(action.entry, f"another snapshot of this restore has {path} with other content"))
                continue
            if path in seen_before:
                result.append(Keep(action.entry, "comes with another snapshot of this restore"))
                continue
        result.append(action)
    return result


def _needed(site: Site, snapshot: SnapshotPlan, sources: Sequence[RestoreSource]) -> int:
    linked = snapshot.links_payload
    if snapshot.mode is LinkMode.AUTO:
        source = next((item.source for item in sources if item.source.name == snapshot.source), None)
        largest = max((entry for entry in snapshot.manifest.files), key=lambda file: file.size_bytes, default=None)
        local = None if largest is None or source is None else source.local_path(largest)
        linked = local is not None and os.path.isdir(site.disk.root) and site.disk.can_reflink(local)
    return needed_bytes(list(snapshot.actions), lambda file: site.disk.partial_bytes(file.path), linked=linked)


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
    awaited = [action.entry.path for snapshot in prepared.plan.snapshots for action in _gathered(snapshot)]
    failed: dict[str, Finding] = {}
    brought: list[FileEntry] = []
    results = []
    for planned in prepared.plan.snapshots:
        snapshot = replace(planned, actions=tuple(_still_true(action, failed) for action in planned.actions))
        results.append(_restore_one(site, sources, resort, snapshot, findings, awaited, failed, brought))
    elapsed_s = site.clock.monotonic_s() - started_s
    asked = ", ".join(f"{item.source.name} ({item.source.describe()})" for item in sources)
    notes = () if results else (f"no store holds a snapshot yet: asked {asked}",)
    return Report(Job.RESTORE, started_at, elapsed_s, tuple(results), tuple(findings), notes)


def with_spare(needed_bytes: int) -> int:
    """What has to be free for something that takes so many bytes: nothing for nothing."""
    return needed_bytes + _SPARE_BYTES if needed_bytes else 0


def check_space(site: Site, needed_bytes: int) -> None:
    """Refuses what the disk cannot take.

    Args:
        site: the cache.
        needed_bytes: what has to be free (see `with_spare`).

    Raises:
        NoSpace: with what it needs and what is free.
    """
    free_bytes = site.disk.free_bytes()
    if needed_bytes > free_bytes:
        raise NoSpace(site.disk.root, f"needs {needed_bytes:,} bytes, {free_bytes:,} are free")


def _gathered(plan: SnapshotPlan) -> list[Fetch | Repair]:
    return [action for action in plan.actions if isinstance(action, Fetch | Repair)]


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
) -> SnapshotResult:
    manifest = plan.manifest
    ordered = sorted(sources, key=lambda item: item.source.name != plan.source)
    site.monitor.begin(f"restore {manifest.key} from {plan.source}", _work_bytes(plan))
    stores = [item.source for item in ordered]
    done = site.applier().apply(plan, [*stores, *last_resort.sources(manifest)], awaited, brought)
    site.monitor.finish()
    brought.extend(file for file in manifest.files if file.path in done.gathered.finished)
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
    changed = [action for action in plan.actions if not isinstance(action, Keep)]
    fetched = sum(isinstance(action, Fetch) for action in plan.actions)
    mended = sum(isinstance(action, Repair | SetMode) for action in plan.actions)
    kept = sum(isinstance(action, Keep) for action in plan.actions)
    if done.failed:
        action = "failed"
        detail = f"{len(done.failed)} of {len(plan.actions)} entries could not be brought back"
    elif changed:
        action = "restored"
        detail = f"{fetched} {'file' if fetched == 1 else 'files'} brought back, {mended} mended, "
        detail += f"{kept} {'entry was' if kept == 1 else 'entries were'} right"
    else:
        action = "unchanged"
        detail = "everything was there and right"
    if done.linked_files:
        detail += f"; {done.linked_files} linked: not read, so run verify --deep"
    if linked := sum(isinstance(action, Keep) and action.reason.startswith("linked to ") for action in plan.actions):
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

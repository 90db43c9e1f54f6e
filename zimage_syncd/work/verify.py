"""Compares the cache with its last good manifests, names what is wrong, and mends it where that is asked for.

Quick: presence, sizes, links, headers. Deep: every byte. A file's own list (trees/, blob names) is compared where there
is no manifest yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zimage_syncd.model import problems
from zimage_syncd.model.failures import CacheEmpty, SnapshotMissing
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.plan import Actions, Fetch, Keep, LinkMode, Refuse, SnapshotPlan
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult, SourceUse
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import Incomplete, LocalSnapshot, SnapshotKey
from zimage_syncd.ports import ChunkSource, SnapshotSource
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.last_good import stored
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.look import Depth, unseen_root
from zimage_syncd.work.mended import mended
from zimage_syncd.work.names import Names
from zimage_syncd.work.permissions import for_its_mode, open_up
from zimage_syncd.work.site import Site, Survey, selects
from zimage_syncd.work.space import check_space, needed_bytes, with_spare
from zimage_syncd.work.superseded import superseded
from zimage_syncd.work.unrecorded import check_unrecorded


@dataclass(slots=True)
class _Checked:
    """What was found of one snapshot."""

    result: SnapshotResult
    findings: list[Finding]


def verify(
    site: Site,
    sources: Sequence[SnapshotSource],
    selection: Selection,
    *,
    deep: bool,
    repair: bool,
    last_resort: LastResort | None = None,
) -> Report:
    """Checks what is meant; returns what was found and, with `repair`, what was mended.

    Args:
        site: the cache.
        sources: stores that manifests and good chunks may come from, the nearest first; asked only where needed.
        selection: which snapshots.
        deep: read every byte.
        repair: mend what is wrong.
        last_resort: hubs that good chunks may come from where no store has them; None: the stores alone are asked.

    Raises:
        SnapshotMissing, CacheEmpty: what the selection names is not in the cache and never was.
        PathUnreadable, DiskError: nothing that could be found is meant, and a directory could not be listed.
        Stopped: somebody asked to stop.
    """
    started_at, started_s = site.clock.now(), site.clock.monotonic_s()
    survey = _without_entries(site, site.survey())
    local = {snapshot.key: snapshot for snapshot in survey.snapshots}
    results: list[SnapshotResult] = []
    findings: list[Finding] = [finding_of(failure) for failure in survey.troubles]
    keys = _keys(site, selection, survey, local)
    for key in keys:
        if key not in local and _is_hidden(site, survey, key):
            results.append(SnapshotResult(str(key), "skipped", "its directory cannot be read"))
            continue
        checked = _snapshot(site, sources, last_resort or LastResort(), key, local.get(key), deep=deep, repair=repair)
        results.append(checked.result)
        findings.extend(checked.findings)
    findings = _one_for_each_mount(findings)
    missing = (
        []
        if selection.repo or survey.troubles
        else [repo for repo in site.repos if all(key.repo != repo for key in keys)]
    )
    findings.extend(finding_of(SnapshotMissing(str(repo))) for repo in missing)
    elapsed_s = site.clock.monotonic_s() - started_s
    return Report(Job.VERIFY, started_at, elapsed_s, tuple(results), tuple(findings))


def _without_entries(site: Site, survey: Survey) -> Survey:
    """What a verification needs of snapshots that have a record: of 100,000 files the rest is tens of megabytes."""
    recorded = set(site.shelf.keys())
    return replace(
        survey,
        snapshots=tuple(
            replace(snapshot, files=(), links=(), pointers=()) if snapshot.key in recorded else snapshot
            for snapshot in survey.snapshots
        ),
    )


def _whole(site: Site, local: LocalSnapshot) -> LocalSnapshot:
    """A snapshot with its files, also where its record turned out to be none."""
    return local if local.files else _found_again(site, local.key) or local


def _found_again(site: Site, key: SnapshotKey) -> LocalSnapshot | None:
    return next((snapshot for snapshot in site.survey().snapshots if snapshot.key == key), None)


def _is_hidden(site: Site, survey: Survey, key: SnapshotKey) -> bool:
    """Whether a recorded snapshot lies where nobody can look: of its files, every one would be told."""
    manifest = site.shelf.load(key)
    return manifest is not None and survey.hides(f"{site.disk.root}/{site.layout_of(key).directory(manifest)}")


def _keys(
    site: Site, selection: Selection, survey: Survey, local: dict[SnapshotKey, LocalSnapshot]
) -> list[SnapshotKey]:
    recorded = site.shelf.keys()
    keys, known = [], set(local) | set(recorded)
    for key in sorted(known - superseded(recorded, local.values(), site.is_written)):
        names = local[key].names if key in local else ()
        if not selects(selection, key, names, site.repos):
            continue
        if selection.snapshot_id is not None:
            manifest = site.shelf.load(key)
            if manifest is None or not manifest.id.startswith(selection.snapshot_id):
                continue
        keys.append(key)
    if not keys and survey.troubles:
        raise survey.troubles[0]  # nobody can tell what is in there
    if not keys and selection != Selection():
        raise SnapshotMissing(str(selection.repo or selection.snapshot_id or selection.revision), site.disk.root)
    if not keys:
        raise CacheEmpty(site.disk.root)
    return keys


def _snapshot(
    site: Site,
    sources: Sequence[SnapshotSource],
    last_resort: LastResort,
    key: SnapshotKey,
    local: LocalSnapshot | None,
    *,
    deep: bool,
    repair: bool,
) -> _Checked:
    recorded = site.shelf.load(key)
    manifest = recorded or stored(sources, key)
    if manifest is None:
        if local is None:
            return _Checked(SnapshotResult(str(key), "missing"), [Finding(problems.SNAPSHOT_MISSING, str(key))])
        return _Checked(*check_unrecorded(site, _whole(site, local), deep=deep))
    opened = open_up(site, manifest) if repair else []
    if opened:
        local = _found_again(site, key)
    incomplete = local is not None and isinstance(local.completeness, Incomplete)
    actions, read_bytes = _examine(site, manifest, Depth.DEEP if deep else Depth.QUICK)
    findings = _findings(site, manifest, actions)
    if incomplete and not findings and not deep:
        # A header does not fit although sizes do: only reading tells which chunk it is.
        actions, read_bytes = _examine(site, manifest, Depth.DEEP)
        findings = _findings(site, manifest, actions)
    result = SnapshotResult(
        str(key),
        "verified" if not findings else "damaged",
        detail=_detail(actions, deep=deep),
        manifest_id=manifest.id,
        files=len(manifest.files),
        total_bytes=manifest.size_bytes,
        checked_bytes=read_bytes,
    )
    if not findings and incomplete and local is not None and isinstance(local.completeness, Incomplete):
        reasons = "; ".join(local.completeness.reasons[:5])
        findings.append(Finding(problems.SNAPSHOT_INCOMPLETE, str(key), reasons))
        result = replace(result, action="incomplete")
    elif findings and repair:
        result, findings = _mend(site, [*sources, *last_resort.sources(manifest)], manifest, actions, result)
    elif not findings and recorded is None:
        site.shelf.save(manifest)
    if opened and not findings:
        result = replace(result, action="mended")
    return _Checked(result, [*opened, *findings])


def _examine(site: Site, manifest: Manifest, depth: Depth) -> tuple[Actions, int]:
    verb = "verify" if depth is Depth.DEEP else "check"
    site.monitor.begin(f"{verb} {manifest.key}", manifest.size_bytes)
    examiner = site.examiner(replace_dead_links=False)
    actions = examiner.examine(manifest, depth)
    if actions.count(Refuse):
        actions = Actions(manifest.entries, (for_its_mode(site, action) for action in actions))
    site.monitor.finish()
    return actions, examiner.read_bytes


def _findings(site: Site, manifest: Manifest, actions: Actions) -> list[Finding]:
    found = []
    names = Names(manifest)
    for action in actions.changes():
        if isinstance(action, Keep):
            continue
        chunks = getattr(action, "chunks", ())
        if (root := unseen_root(action, site.linked_roots)) is not None:
            found.append(Finding(problems.STORE_MISSING, root))
            continue
        found.append(Finding(action.problem, names.shown(action.entry.path), action.reason, tuple(chunks)))
    return found


def _one_for_each_mount(findings: Sequence[Finding]) -> list[Finding]:
    """Of all files that are linked into a mount that is not there, one finding, in the place of the first."""
    # A store that was asked and is not there says so in its detail.
    linked = [finding for finding in findings if finding.problem is problems.STORE_MISSING and not finding.detail]
    files = Counter(finding.subject for finding in linked)
    merged = []
    for finding in findings:
        if finding.problem is not problems.STORE_MISSING or finding.detail:
            merged.append(finding)
        elif count := files.pop(finding.subject, 0):
            noun = "file of the cache is" if count == 1 else "files of the cache are"
            detail = f"{count:,} {noun} linked into it, and it cannot be seen; is it mounted? The links stay"
            merged.append(replace(finding, detail=detail))
    return merged


def _detail(actions: Actions, *, deep: bool) -> str:
    linked = actions.count_kept("linked")
    detail = "every byte was read" if deep else "presence, sizes, links and headers"
    return f"{detail}; {linked} files are linked" if linked else detail


def _mend(
    site: Site,
    sources: Sequence[ChunkSource],
    manifest: Manifest,
    actions: Actions,
    result: SnapshotResult,
) -> tuple[SnapshotResult, list[Finding]]:
    needed = needed_bytes(site, actions.changes(), linked=False)
    check_space(site, with_spare(needed))
    directory = f"{site.disk.root}/{site.layout_of(manifest.key).directory(manifest)}"
    plan = SnapshotPlan(manifest, "", LinkMode.COPY, directory, actions)
    fetched = sum(action.fetch_bytes for action in actions.changes() if isinstance(action, Fetch))
    site.monitor.begin(f"mend {manifest.key}", max(fetched, plan.fetch_bytes))
    done = site.applier().apply(plan, sources)
    site.monitor.finish()
    findings = [*done.findings, *mended(site, manifest, actions, done)]
    used = tuple(SourceUse(name, count) for name, count in sorted(done.gathered.read_bytes.items()))
    if not done.failed:
        site.shelf.save(manifest)
    action_word = "failed" if done.failed else "mended"
    return replace(
        result, action=action_word, written_bytes=sum(use.read_bytes for use in used), sources=used
    ), findings

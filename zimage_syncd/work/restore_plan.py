"""What a restore is going to do: stores and cache are looked at, nothing is written.

The plan is data: `--dry-run` prints it, `restore` carries the same plan out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from zimage_syncd.model.failures import LinkModeUnsupported
from zimage_syncd.model.manifest import Manifest, PointerEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Action, Actions, Fetch, Keep, Link, LinkMode, Plan, Refuse, Repair, SnapshotPlan
from zimage_syncd.model.report import Finding
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import Incomplete, SnapshotKey
from zimage_syncd.ports import SnapshotSource
from zimage_syncd.work.choose import Chosen, choose
from zimage_syncd.work.foreseen import Foreseen
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.look import Depth
from zimage_syncd.work.site import Site
from zimage_syncd.work.space import needed_bytes, with_spare
from zimage_syncd.work.superseded import ONE_DIRECTORY, superseded

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
    foreseen = Foreseen(site.disk, site.shelf, site.cancel.check)
    snapshots, needed = [], 0
    newest_first = _newest_first(site, choice.chosen)
    held = _held(site, newest_first, choice.newest) if selection == Selection() else {}
    newest_first = [chosen for chosen in newest_first if chosen.manifest.key not in held]
    for chosen in newest_first:
        snapshot = _planned(site, sources, chosen)
        actions: Iterable[Action] = snapshot.actions
        if len(newest_first) > 1:
            actions = _without_repeats(actions, planned)
        actions = _without_stale(snapshot.manifest, actions, choice.newest)
        snapshot = replace(snapshot, actions=Actions(snapshot.manifest.entries, actions))
        shares = _shares_extents(site, snapshot, sources)
        needed += needed_bytes(site, snapshot.actions.changes(), linked=snapshot.links_payload or shares)
        snapshots.append(foreseen.counted(snapshot, shares=shares))
    plan = Plan(tuple(snapshots), with_spare(needed), site.disk.free_bytes())
    return Prepared(replace(plan, notes=tuple(held.values())), choice.findings)


def _planned(site: Site, sources: Sequence[RestoreSource], chosen: Chosen) -> SnapshotPlan:
    """What one snapshot needs by itself, whatever else the same restore brings."""
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
    return SnapshotPlan(manifest, chosen.source.name, mode, directory, actions)


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


def _held(site: Site, chosen: Sequence[Chosen], newest: Mapping[SnapshotKey, str]) -> dict[SnapshotKey, str]:
    """What is not put over another revision that nobody has a copy of, with a sentence that says so."""
    keys = [item.manifest.key for item in chosen if item.manifest.key.layout in ONE_DIRECTORY]
    if not keys:
        return {}
    local = site.survey().snapshots
    held = {}
    for key in sorted(superseded(keys, local, site.is_written)):
        there = next(item for item in local if (item.key.layout, item.key.repo) == (key.layout, key.repo))
        is_whole = not isinstance(there.completeness, Incomplete)
        if there.key not in newest and (is_whole or site.is_written()):
            held[key] = (
                f"{there.key} stays, since no store has it, and {key} would take its place: to have that one back, "
                f"run `zimage-syncd restore {key.repo} --revision {key.revision}`"
            )
    return held


def _check_mode(source: SnapshotSource, mode: LinkMode) -> None:
    if mode not in {LinkMode.AUTO, LinkMode.COPY} and mode not in source.modes():
        possible = ", ".join(sorted({"auto", "copy", *source.modes()}))
        raise LinkModeUnsupported(f"{source.name} ({source.describe()})", f"{mode}; possible are {possible}")


def _without_stale(
    manifest: Manifest, actions: Iterable[Action], newest: Mapping[SnapshotKey, str]
) -> Iterator[Action]:
    """No branch or tag is made that means another snapshot by now, as far as the stores know."""

    def one(action: Action) -> Action:
        _, found, name = action.entry.path.partition("/refs/")
        if not found or not isinstance(action, Link) or not isinstance(action.entry, PointerEntry):
            return action
        if newest.get(replace(manifest.key, revision=name), manifest.id) in {manifest.id, ""}:
            return action
        return Keep(action.entry, "this name means another snapshot by now")

    return map(one, actions)


def _without_repeats(actions: Iterable[Action], planned: dict[str, str]) -> Iterator[Action]:
    """Payload that an earlier snapshot of the same plan brings is not brought again."""
    seen_before = frozenset(planned)
    for action in actions:
        if isinstance(action, Fetch | Repair):
            path, content = action.entry.path, action.entry.sha256
            if planned.setdefault(path, content) != content:
                yield Refuse(action.entry, f"another snapshot of this restore has {path} with other content")
                continue
            if path in seen_before:
                yield Keep(action.entry, "comes with another snapshot of this restore")
                continue
        yield action


def _shares_extents(site: Site, snapshot: SnapshotPlan, sources: Sequence[RestoreSource]) -> bool:
    """Whether files that are missing appear by sharing the extents of the store's."""
    if snapshot.mode is not LinkMode.AUTO:
        return False
    source = next((item.source for item in sources if item.source.name == snapshot.source), None)
    largest = max((entry for entry in snapshot.manifest.files), key=lambda file: file.size_bytes, default=None)
    local = None if largest is None or source is None else source.local_path(largest)
    return local is not None and os.path.isdir(site.disk.root) and site.disk.can_reflink(local)

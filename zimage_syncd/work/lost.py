"""Pointers that are gone: a snapshot to which no reference leads is not found by its library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from zimage_syncd.decide.accept import if_wanted
from zimage_syncd.decide.damage import is_list
from zimage_syncd.model import problems
from zimage_syncd.model.manifest import Manifest, PointerEntry
from zimage_syncd.model.plan import Action, Keep
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import LocalSnapshot
from zimage_syncd.ports import Absent, Archive
from zimage_syncd.work.look import Depth
from zimage_syncd.work.site import Site


def lost_pointers(site: Site, archive: Archive, snapshot: LocalSnapshot, recorded: Manifest | None) -> list[Finding]:
    """What this disk's own record has and the snapshot has no more: all of its references, or its publisher's list.

    Who removes one of several references has a reason. One that means another commit by now, here or in the archive,
    was not lost; nor was one in whose place there is a directory of others.

    Args:
        site: the cache.
        archive: asked what references mean, where none of them is left.
        snapshot: as it is now.
        recorded: the last good manifest on this disk; None where there is none.

    Raises:
        Failure: the archive cannot be asked, or a pointer cannot be looked at.
        Stopped: somebody asked to stop.
    """
    if recorded is None:
        return []
    return [*_lost_references(site, archive, snapshot, recorded), *_lost_list(site, snapshot, recorded)]


def _lost_references(site: Site, archive: Archive, snapshot: LocalSnapshot, recorded: Manifest) -> Iterator[Finding]:
    references = tuple(pointer for pointer in recorded.pointers if _name_of(pointer))
    if not references or snapshot.names != (snapshot.key.revision,):
        return
    only_these = replace(recorded, entries=references)
    actions = list(site.examiner(replace_dead_links=False).examine(only_these, Depth.QUICK))
    if any(isinstance(action, Keep) or _holds_others(site, action) for action in actions):
        return
    for action in actions:
        if not _means_another(archive, recorded, _name_of(action.entry)) and not isinstance(action, Keep):
            why = "" if action.problem is problems.POINTER_MISSING else f"{action.reason}; "
            detail = f"{why}no reference to the snapshot is left; {if_wanted(snapshot.key)}"
            yield Finding(action.problem, action.entry.path, detail)


def _name_of(entry: object) -> str:
    """The branch or tag whose reference an entry is; empty where it is something else."""
    return entry.path.partition("/refs/")[2] if isinstance(entry, PointerEntry) else ""


def _holds_others(site: Site, action: Action) -> bool:
    """Whether a directory of other references lies in a reference's place: `fix` became `fix/1`."""
    try:
        return bool(os.listdir(f"{site.disk.root}/{action.entry.path}"))
    except OSError:
        return False


def _means_another(archive: Archive, recorded: Manifest, name: str) -> bool:
    key = recorded.key
    for stored in archive.snapshots():
        if (stored.layout, stored.repo, stored.name) == (key.layout, key.repo, name):
            return stored.manifest_id != recorded.id and archive.manifest(stored.manifest_id).key != key
    return False


def _lost_list(site: Site, snapshot: LocalSnapshot, recorded: Manifest) -> Iterator[Finding]:
    before = next((pointer for pointer in recorded.pointers if "/trees/" in pointer.path), None)
    now = next((pointer.text for pointer in snapshot.pointers if "/trees/" in pointer.path), "")
    if before is not None and not is_list(now.encode()):
        is_there = not isinstance(site.disk.look(before.path), Absent)
        problem = problems.POINTER_DAMAGED if is_there else problems.POINTER_MISSING
        what = "it cannot be understood any more" if is_there else "its publisher's list is gone"
        yield Finding(problem, before.path, f"{what}; {if_wanted(snapshot.key)}")

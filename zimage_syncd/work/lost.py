"""Pointers that are gone: a snapshot to which no reference leads is not found by its library."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace

from zimage_syncd.decide.accept import if_wanted
from zimage_syncd.decide.damage import is_commit, is_list
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.plan import Keep
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import LocalSnapshot
from zimage_syncd.ports import Absent, Archive
from zimage_syncd.work.look import Depth
from zimage_syncd.work.site import Site

_REPOSITORY = r"(?:hub/)?(?:models|datasets|spaces)--[^/]+"
_REFERENCE = re.compile(rf"{_REPOSITORY}/refs/(.+)", re.DOTALL)


def lost_pointers(
    site: Site, archive: Archive, snapshot: LocalSnapshot, recorded: Manifest | None, *, accept_changed: bool
) -> list[Finding]:
    """What this disk's own record has and the snapshot has no more: all of its references, or its publisher's list.

    Who removes one of several references has a reason. One that means another commit by now, here or in the archive,
    was not lost; nor was one in whose place there is a directory of others.

    Args:
        site: the cache.
        archive: asked what references mean, where none of them is left.
        snapshot: as it is now.
        recorded: the last good manifest on this disk; None where there is none.
        accept_changed: a person says that it is wanted that something is gone; a damaged list would be recorded as it
            is, so that stays a finding.

    Raises:
        Failure: the archive cannot be asked, or the list cannot be looked at.
        Stopped: somebody asked to stop.
    """
    if recorded is None:
        return []
    of_list = _lost_list(site, snapshot, recorded)
    if accept_changed:
        return [finding for finding in of_list if finding.problem is problems.POINTER_DAMAGED]
    return [*_lost_references(site, archive, snapshot, recorded), *of_list]


def _lost_references(site: Site, archive: Archive, snapshot: LocalSnapshot, recorded: Manifest) -> Iterator[Finding]:
    names = {pointer.path: _name_of(pointer.path) for pointer in recorded.pointers if _name_of(pointer.path)}
    if not names or snapshot.names != (snapshot.key.revision,):
        return
    references = replace(recorded, entries=tuple(pointer for pointer in recorded.pointers if pointer.path in names))
    actions = site.examiner(replace_dead_links=False).examine(references, Depth.QUICK)
    gone = [action for action in actions if not isinstance(action, Keep)]
    if len(gone) < len(names):
        return  # one of them means another commit now
    stored = {
        item.name: item.manifest_id
        for item in archive.snapshots()
        if (item.layout, item.repo) == (recorded.key.layout, recorded.key.repo)
    }
    for action in gone:
        path = action.entry.path
        if _holds_others(f"{site.disk.root}/{path}") or _means_another(archive, recorded, stored.get(names[path], "")):
            continue
        why = "" if action.problem is problems.POINTER_MISSING else f"{action.reason}; "
        detail = f"{why}no reference to the snapshot is left; {if_wanted(snapshot.key)}"
        yield Finding(action.problem, path, detail)


def _name_of(path: str) -> str:
    """The branch or tag whose reference lies at a path; empty where something else does."""
    found = _REFERENCE.fullmatch(path)
    return "" if found is None else found[1]


def _holds_others(place: str) -> bool:
    """Whether a directory of other references lies in a reference's place: `fix` became `fix/1`."""
    for directory, _, names in os.walk(place):
        for name in names:
            with contextlib.suppress(OSError), open(f"{directory}/{name}", "rb") as file:
                if is_commit(file.read(64)):
                    return True
    return False


def _means_another(archive: Archive, recorded: Manifest, manifest_id: str) -> bool:
    """Whether a name means another commit in the archive; the same one may have another record, by another cache."""
    if manifest_id in {"", recorded.id}:
        return False
    try:
        return archive.manifest(manifest_id).key != recorded.key
    except Stopped:
        raise
    except Failure:
        return True  # nobody knows what it was, and a backup shall not fail for it


def _lost_list(site: Site, snapshot: LocalSnapshot, recorded: Manifest) -> Iterator[Finding]:
    place = re.compile(rf"{_REPOSITORY}/trees/{re.escape(snapshot.key.revision)}\.json")
    before = next((pointer for pointer in recorded.pointers if place.fullmatch(pointer.path)), None)
    now = next((pointer.text for pointer in snapshot.pointers if place.fullmatch(pointer.path)), "")
    if before is None or not is_list(before.text.encode()) or is_list(now.encode()):
        return
    if isinstance(site.disk.look(before.path), Absent):
        detail = f"its publisher's list is gone; {if_wanted(snapshot.key)}"
        yield Finding(problems.POINTER_MISSING, before.path, detail)
    else:
        yield Finding(problems.POINTER_DAMAGED, before.path, "its publisher's list cannot be understood any more")

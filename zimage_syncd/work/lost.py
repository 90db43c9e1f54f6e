"""References that are gone: a snapshot to which none leads any more is not found by its library."""

from __future__ import annotations

from dataclasses import replace

from zimage_syncd.decide.accept import if_wanted
from zimage_syncd.model.manifest import PointerEntry
from zimage_syncd.model.plan import Link
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import LocalSnapshot
from zimage_syncd.ports import Archive, Other
from zimage_syncd.work.look import Depth
from zimage_syncd.work.site import Site


def lost_references(site: Site, archive: Archive, snapshot: LocalSnapshot) -> list[Finding]:
    """The references that this disk's own record of a snapshot has, where not one of them is left.

    Who removes some of several has a reason. One that means another snapshot by now, here or in the archive, was not
    lost; nor was one in whose place there is a directory of others.

    Raises:
        Failure: the archive cannot be asked, or a reference cannot be looked at.
        Stopped: somebody asked to stop.
    """
    key = snapshot.key
    recorded = None if snapshot.names != (key.revision,) else site.shelf.load(key)
    if recorded is None:
        return []
    names = {(item.layout, item.repo, item.name): item.manifest_id for item in archive.snapshots()}

    def is_ours(entry: PointerEntry) -> bool:
        _, found, name = entry.path.partition("/refs/")
        return bool(found) and names.get((key.layout, key.repo, name), recorded.id) == recorded.id

    references = tuple(filter(is_ours, recorded.pointers))
    if not references:
        return []
    actions = site.examiner(replace_dead_links=False).examine(replace(recorded, entries=references), Depth.QUICK)
    gone = [action for action in actions.changes() if isinstance(action, Link)]
    return [
        Finding(action.problem, action.entry.path, f"{action.reason}; no other one is left; {if_wanted(key.repo)}")
        for action in gone
        if not isinstance(site.disk.look(action.entry.path), Other)
    ]

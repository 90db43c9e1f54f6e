"""What was recorded of a snapshot and is gone: a verification brings it back, and no backup records less.

A download that ended too soon looks alike, but nothing of it was recorded.
"""

from __future__ import annotations

from dataclasses import replace

from zimage_syncd.decide.accept import IF_WANTED
from zimage_syncd.model import problems
from zimage_syncd.model.manifest import Manifest, PointerEntry
from zimage_syncd.model.plan import Keep
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import Absent
from zimage_syncd.work.look import Depth
from zimage_syncd.work.names import Names
from zimage_syncd.work.site import Site


def lost_pointers(site: Site, recorded: Manifest | None) -> list[Finding]:
    """Pointers that are gone, damaged or out of reach; one that means another snapshot by now is none of these.

    Args:
        site: the cache.
        recorded: the last good manifest; None where there is none.

    Raises:
        Stopped: somebody asked to stop.
    """
    if recorded is None or not recorded.pointers:
        return []
    pointers = replace(recorded, entries=tuple(recorded.pointers))
    actions = site.examiner(replace_dead_links=False).examine(pointers, Depth.QUICK)
    return [
        Finding(action.problem, action.entry.path, f"{action.reason}; {IF_WANTED}")
        for action in actions.changes()
        if not isinstance(action, Keep)
    ]


def lost_entries(site: Site, recorded: Manifest | None) -> list[Finding]:
    """Files, links and pointers that are gone, and damaged pointers; arguments as those of `lost_pointers`.

    Raises:
        PathUnreadable, DiskError: an entry cannot be looked at.
    """
    if recorded is None:
        return []
    names = Names(recorded)
    gone = [
        Finding(problems.FILE_MISSING, names.shown(entry.path), "it was there in the last good snapshot and is gone")
        for entry in recorded.entries
        if not isinstance(entry, PointerEntry) and isinstance(site.disk.look(entry.path), Absent)
    ]
    return [*gone, *lost_pointers(site, recorded)]

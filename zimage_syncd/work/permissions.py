"""Files whose own permissions keep them from being read: told by their mode, and opened before they are looked at."""

from __future__ import annotations

import os

from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, PathUnreadable
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.plan import Action, Refuse, SetMode
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import SeenFile
from zimage_syncd.work.names import Names
from zimage_syncd.work.site import Site


def open_up(site: Site, manifest: Manifest) -> list[Finding]:
    """Gives files that cannot be read their permissions back, so that their content can be looked at."""
    findings, names = [], Names(manifest)
    for entry in manifest.files:
        try:
            seen = site.disk.look(entry.path)
            if not isinstance(seen, SeenFile) or seen.stat.mode == entry.mode or seen.stat.links > 1:
                continue
            if _can_read(site, entry):
                continue
            site.disk.set_mode(entry.path, entry.mode)
        except (Failure, FileNotFoundError):
            continue  # the examination meets it again, and tells
        reason = f"mode {seen.stat.mode:o}, expected {entry.mode:o}: it could not be read"
        findings.append(Finding(problems.MODE_WRONG, names.shown(entry.path), reason, mended=True))
    return findings


def _can_read(site: Site, entry: FileEntry) -> bool:
    try:
        os.close(site.disk.open_read(entry.path))
    except PathUnreadable:
        return False
    return True


def for_its_mode(site: Site, action: Action) -> Action:
    """A file that only its wrong permissions keep from being read is told alike by every depth."""
    unreadable = isinstance(action, Refuse) and action.problem is problems.PATH_UNREADABLE
    if not unreadable or not isinstance(action.entry, FileEntry):
        return action
    try:
        seen = site.disk.look(action.entry.path)
    except Failure:
        return action
    if not isinstance(seen, SeenFile) or seen.stat.mode == action.entry.mode or seen.stat.links > 1:
        return action
    return SetMode(action.entry, f"mode {seen.stat.mode:o}, expected {action.entry.mode:o}: it cannot be read")

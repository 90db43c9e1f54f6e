"""What may be backed up: damage never becomes the newest snapshot.

Content under a Hugging Face commit is immutable, so another content than the last good one is damage. A ModelScope
revision is a name that may move: whether a change is wanted, only a person or the hub's list can say.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from zimage_syncd.model import problems
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.path import resolve_link
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import CannotTell, Complete, Incomplete, LayoutName, LocalSnapshot, SnapshotKey

_MAX_HOPS = 2
"""A snapshot's name → the repository's blob → a shared blob."""


def if_wanted(key: SnapshotKey) -> str:
    """What to do where something of a snapshot was removed on purpose: of this one alone."""
    command = f"backup {key.repo} --layout {key.layout} --revision {shlex.quote(key.revision)} --accept-changed"
    return f"where that is wanted, `zimage-syncd {command}` records it so"


def refusals_of_state(snapshot: LocalSnapshot) -> list[Finding]:
    """Why a snapshot may not be backed up, before any of its bytes are read; empty where it may."""
    match snapshot.completeness:
        case Complete():
            return []
        case CannotTell(satisfied=True):
            return []
        case CannotTell(_, unchecked):
            detail = "no list tells what belongs to it: " + "; ".join(unchecked[:5])
            return [Finding(problems.SNAPSHOT_INCOMPLETE, str(snapshot.key), detail)]
        case Incomplete(reasons):
            return [Finding(problems.SNAPSHOT_INCOMPLETE, str(snapshot.key), reason) for reason in reasons]


def refusals_of_change(
    manifest: Manifest, last_good: Manifest | None, *, accept_changed: bool, is_own: bool = True
) -> list[Finding]:
    """Why new content may not follow the last good one; empty where it may.

    Args:
        manifest: what was just recorded.
        last_good: what was recorded before for the same snapshot.
        accept_changed: a person says that the change is wanted; under an immutable commit that can only mean that
            something is gone.
        is_own: whether it was recorded on this disk; otherwise an archive has it from somebody who may have more than
            this cache ever had, and shall not lose it.
    """
    if last_good is None:
        return []
    immutable = manifest.key.layout is LayoutName.HUGGINGFACE
    if accept_changed and not immutable:
        return []
    changed = problems.FILE_DAMAGED if immutable else problems.REVISION_CHANGED
    blobs = {path for path in _targets(last_good).values() if immutable and "/snapshots/" not in path}
    then, now = _content(last_good), _content(manifest)
    findings: list[Finding] = []
    for paths in _by_entry(then):
        before = then[paths[0]]
        # A blob is judged by the names that lead to it: a library may keep it elsewhere, or have made copies.
        lost = [path for path in paths if path not in now and path not in blobs and not (accept_changed and is_own)]
        other = [path for path in paths if path in now and now[path].sha256 != before.sha256]
        if before.path in other:
            lost, other = [], [before.path]  # what leads to it is named by that
        gone = f"it was there in the last good snapshot and is gone; {if_wanted(manifest.key)}"
        if not is_own:
            gone = f"the archive has it, and this cache does not: `zimage-syncd restore {manifest.key.repo}` brings it"
        findings.extend(Finding(problems.FILE_MISSING, path, gone) for path in lost)
        for path in other:
            detail = f"the last good snapshot had sha256 {before.sha256}, found {now[path].sha256}"
            findings.append(Finding(changed, path, detail, _changed_chunks(before, now[path])))
    return findings


def _by_entry(content: Mapping[str, FileEntry]) -> list[list[str]]:
    """The paths at which a reader finds each file, sorted."""
    paths: dict[str, list[str]] = {}
    for path in sorted(content):
        paths.setdefault(content[path].path, []).append(path)
    return list(paths.values())


def _content(manifest: Manifest) -> dict[str, FileEntry]:
    """What a reader finds at each path: a file's own content, or that of the file that a link leads to."""
    found: dict[str, FileEntry] = {file.path: file for file in manifest.files}
    targets = _targets(manifest)
    for path, target in targets.items():
        end = target
        for _ in range(_MAX_HOPS):
            end = targets.get(end, end)
        if end in found and path not in found:
            found[path] = found[end]
    return found


def _targets(manifest: Manifest) -> dict[str, str]:
    """Where each link leads."""
    return {link.path: resolve_link(link.path, link.target) for link in manifest.links}


def _changed_chunks(before: FileEntry, after: FileEntry) -> tuple[int, ...]:
    if before.size_bytes != after.size_bytes:
        return ()
    return tuple(
        index for index, pair in enumerate(zip(before.chunks, after.chunks, strict=True)) if pair[0] != pair[1]
    )

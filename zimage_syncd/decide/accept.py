"""What may be backed up: damage never becomes the newest snapshot.

Content under a Hugging Face commit is immutable, so another content than the last good one is damage. A ModelScope
revision is a name that may move: whether a change is wanted, only a person or the hub's list can say.
"""

from __future__ import annotations

from zimage_syncd.model import problems
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.path import resolve_link
from zimage_syncd.model.report import Finding
from zimage_syncd.model.snapshot import CannotTell, Complete, Incomplete, LayoutName, LocalSnapshot

_MAX_HOPS = 2
"""A snapshot's name → the repository's blob → a shared blob."""


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


def refusals_of_change(manifest: Manifest, last_good: Manifest | None, *, accept_changed: bool) -> list[Finding]:
    """Why new content may not follow the last good one; empty where it may.

    Args:
        manifest: what was just recorded.
        last_good: what was recorded before for the same snapshot.
        accept_changed: a person says that the change is wanted; means nothing under an immutable commit.
    """
    if last_good is None:
        return []
    immutable = manifest.key.layout is LayoutName.HUGGINGFACE
    if accept_changed and not immutable:
        return []
    problem = problems.FILE_DAMAGED if immutable else problems.REVISION_CHANGED
    then, now = _content(last_good), _content(manifest)
    named: set[str] = set()
    findings = []
    for path, before in sorted(then.items(), key=lambda item: (item[0] != item[1].path, item[0])):
        after = now.get(path)
        if after is not None and after.sha256 == before.sha256:
            continue
        if path != before.path and before.path in named:
            continue  # what the link leads to is named already
        named.add(path)
        if after is None:
            detail = "it was there in the last good snapshot and is gone"
            findings.append(Finding(problems.FILE_MISSING if immutable else problem, path, detail))
        else:
            detail = f"the last good snapshot had sha256 {before.sha256}, found {after.sha256}"
            findings.append(Finding(problem, path, detail, _changed_chunks(before, after)))
    return findings


def _content(manifest: Manifest) -> dict[str, FileEntry]:
    """What a reader finds at each path: a file's own content, or that of the file that a link leads to."""
    found: dict[str, FileEntry] = {file.path: file for file in manifest.files}
    targets = {link.path: resolve_link(link.path, link.target) for link in manifest.links}
    for path, target in targets.items():
        end = target
        for _ in range(_MAX_HOPS):
            end = targets.get(end, end)
        if end in found and path not in found:
            found[path] = found[end]
    return found


def _changed_chunks(before: FileEntry, after: FileEntry) -> tuple[int, ...]:
    if before.size_bytes != after.size_bytes:
        return ()
    return tuple(
        index for index, pair in enumerate(zip(before.chunks, after.chunks, strict=True)) if pair[0] != pair[1]
    )

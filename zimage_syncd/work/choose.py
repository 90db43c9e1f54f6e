"""Which snapshots of which stores a selection means: the nearest store that has one gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, FileDamaged, NotAnArchive, NotInStore, SnapshotMissing, Stopped
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Finding
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import RepoId, SnapshotKey
from zimage_syncd.ports import OnBytes, SnapshotSource, StoredSnapshot
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.site import selects

_NO_RECORD = (
    "and a hub only gives bytes of what a manifest describes, of which none is recorded here: download it with its "
    "library, then run `zimage-syncd backup`"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A snapshot that is to be restored."""

    manifest: Manifest
    """What it consists of."""
    source: SnapshotSource
    """The store that has it, the nearest one."""
    created_at: datetime
    """When it became the newest under its name."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selection came to."""

    chosen: tuple[Chosen, ...]
    """Snapshots, each once."""
    newest: Mapping[SnapshotKey, str]
    """The id of the manifest that a name means, selected or not; the name as the revision."""
    findings: tuple[Finding, ...]
    """Stores that could not be asked, manifests that cannot be trusted, repositories that no store has."""


def choose(
    sources: Sequence[SnapshotSource],
    selection: Selection,
    repos: tuple[RepoId, ...],
    on_bytes: OnBytes,
    records: SnapshotSource | None = None,
    *,
    may_be_nothing: bool = False,
) -> Choice:
    """Finds the snapshots that a selection means.

    Args:
        sources: stores, the nearest first.
        selection: what a person named.
        repos: what must be present, where the selection names no repository.
        on_bytes: is told of bytes of a cache tree that are hashed, since nobody recorded them; may raise to stop.
        records: manifests without payload, asked where no store has all that is meant; None: there are none to use.
        may_be_nothing: nobody asked for anything in particular, so that stores which hold nothing yet are no failure.

    Raises:
        Failure: no store could be asked; the first one's failure.
        NotInStore: the stores were asked, and none has anything that is meant.
    """
    chosen: dict[str, Chosen] = {}
    findings: list[Finding] = []
    failures: list[Failure] = []
    seen: set[SnapshotKey] = set()
    newest: dict[SnapshotKey, str] = {}
    for source in sources if records is None else (*sources, records):
        if source is records and not _lacking(chosen, selection, repos, failures, findings):
            continue
        try:
            stored = source.snapshots()
        except Failure as failure:
            failures.append(failure)
            continue
        for item in stored:
            newest.setdefault(SnapshotKey(item.layout, item.repo, item.name), item.manifest_id)
        for candidate in _meant(source, stored, selection, repos):
            place = SnapshotKey(candidate.layout, candidate.repo, candidate.name)
            if place in seen:
                continue
            manifest = _manifest(source, candidate, findings, on_bytes)
            if manifest is not None:
                seen.add(place)
                newest[place] = manifest.id
                chosen.setdefault(manifest.id, Chosen(manifest, source, candidate.created_at))
    if not chosen and may_be_nothing and not findings and _unused(sources, failures):
        return Choice((), {}, ())
    if not chosen:
        _nothing(sources, selection, repos, failures, findings, hubs=records is not None)
    # A store that nothing was backed up to yet is no trouble where another one has everything.
    findings.extend(finding_of(failure) for failure in failures if not isinstance(failure, NotAnArchive))
    if selection.repo is None:
        present = {item.manifest.key.repo for item in chosen.values()}
        findings.extend(finding_of(NotInStore(str(repo))) for repo in repos if repo not in present)
    return Choice(tuple(sorted(chosen.values(), key=lambda item: item.manifest.key)), newest, tuple(findings))


def _unused(sources: Sequence[SnapshotSource], failures: Sequence[Failure]) -> bool:
    """Whether the stores are archives that nothing was backed up to yet.

    A cache tree that holds nothing is none of these: it is a mount point where nothing is mounted, more likely.
    """
    trees = any(LinkMode.SYMLINK in source.modes() for source in sources)
    return bool(sources) and not trees and all(isinstance(failure, NotAnArchive) for failure in failures)


def _lacking(
    chosen: dict[str, Chosen],
    selection: Selection,
    repos: tuple[RepoId, ...],
    failures: list[Failure],
    findings: list[Finding],
) -> bool:
    """Whether something that is meant may still be missing."""
    present = {item.manifest.key.repo for item in chosen.values()}
    wanted = repos if selection.repo is None else (selection.repo,)
    return not chosen or bool(failures or findings) or any(repo not in present for repo in wanted)


def _meant(
    source: SnapshotSource, stored: Sequence[StoredSnapshot], selection: Selection, repos: tuple[RepoId, ...]
) -> list[StoredSnapshot]:
    if selection.snapshot_id is None:
        return [item for item in stored if _selects(selection, item, repos)]
    history = [
        old
        for item in stored
        if _selects(Selection(selection.repo, selection.revision, selection.layout), item, ())
        for old in source.history(item.layout, item.repo, item.name)
    ]
    matching = [item for item in history if item.manifest_id.startswith(selection.snapshot_id)]
    return list({item.manifest_id: item for item in reversed(matching)}.values())


def _selects(selection: Selection, stored: StoredSnapshot, repos: tuple[RepoId, ...]) -> bool:
    return selects(selection, SnapshotKey(stored.layout, stored.repo, stored.name), (stored.name,), repos)


def _manifest(
    source: SnapshotSource, stored: StoredSnapshot, findings: list[Finding], on_bytes: OnBytes
) -> Manifest | None:
    """The newest manifest under this name that can be trusted; each older one that is taken instead is a finding."""
    history = [stored, *(old for old in source.history(stored.layout, stored.repo, stored.name) if _older(old, stored))]
    for item in history:
        try:
            return source.manifest_of(item, on_bytes)
        except Stopped:
            raise
        except Failure as failure:
            findings.append(_finding_in(source, failure))
    return None


def _finding_in(source: SnapshotSource, failure: Failure) -> Finding:
    """What is wrong with a store's snapshot; the store is named, or it would read like damage of the cache."""
    problem = problems.CHUNK_CORRUPT if isinstance(failure, FileDamaged) else failure.problem
    return Finding(problem, f"{source.name}: {failure.subject}", failure.detail)


def _older(old: StoredSnapshot, stored: StoredSnapshot) -> bool:
    return old.sequence < stored.sequence and old.manifest_id != stored.manifest_id


def _nothing(
    sources: Sequence[SnapshotSource],
    selection: Selection,
    repos: tuple[RepoId, ...],
    failures: list[Failure],
    findings: list[Finding],
    *,
    hubs: bool,
) -> None:
    empty = hubs and all(isinstance(failure, NotAnArchive) for failure in failures)
    if failures and len(failures) == len(sources) and not empty:
        raise failures[0]
    wanted = str(selection.repo) if selection.repo is not None else ", ".join(str(repo) for repo in repos)
    wanted = " ".join([wanted or "any snapshot", *_narrowed(selection)])
    asked = ", ".join(source.name for source in sources)
    trouble = "; ".join(str(failure) for failure in failures)
    trouble = trouble or "; ".join(f"{finding.problem.title}: {finding.subject}" for finding in findings)
    detail = f"asked {asked}" if asked else "no store is configured"
    if hubs:
        detail += f", {_NO_RECORD}"
    if not sources:
        raise SnapshotMissing(wanted, detail)
    raise NotInStore(wanted, f"{detail}; {trouble}" if trouble else detail)


def _narrowed(selection: Selection) -> list[str]:
    """What a person asked for besides the repository."""
    options = {"--revision": selection.revision, "--layout": selection.layout, "--snapshot": selection.snapshot_id}
    return [f"{option} {value}" for option, value in options.items() if value is not None]

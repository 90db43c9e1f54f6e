"""Which snapshots of which stores a selection means: the nearest store that has one gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    choosing = _Choosing(selection, repos, on_bytes)
    for source in sources:
        choosing.ask(source)
    if records is not None and choosing.lacks():
        choosing.ask(records)
    if not choosing.chosen and may_be_nothing and not choosing.findings and _unused(sources, choosing.failures):
        return Choice((), {}, ())
    if not choosing.chosen:
        choosing.refuse(sources, hubs=records is not None)
    return choosing.choice()


class _Choosing:
    """What was chosen so far, the nearest store first.

    Args:
        selection: what a person named.
        repos: what must be present, where the selection names no repository.
        on_bytes: is told of bytes that are hashed.
    """

    def __init__(self, selection: Selection, repos: tuple[RepoId, ...], on_bytes: OnBytes) -> None:
        self._selection = selection
        self._repos = repos
        self._on_bytes = on_bytes
        self._seen: set[SnapshotKey] = set()
        self._newest: dict[SnapshotKey, str] = {}
        self.chosen: dict[str, Chosen] = {}
        """By the manifest's id."""
        self.findings: list[Finding] = []
        """Manifests that cannot be trusted."""
        self.failures: list[Failure] = []
        """Of stores that could not be asked."""

    def ask(self, source: SnapshotSource) -> None:
        """Takes from a store what no nearer one has."""
        try:
            stored = source.snapshots()
        except Failure as failure:
            self.failures.append(failure)
            return
        for item in stored:
            self._newest.setdefault(SnapshotKey(item.layout, item.repo, item.name), item.manifest_id)
        for candidate in _meant(source, stored, self._selection, self._repos):
            place = SnapshotKey(candidate.layout, candidate.repo, candidate.name)
            if place in self._seen:
                continue
            manifest = _manifest(source, candidate, self.findings, self._on_bytes)
            if manifest is not None:
                self._seen.add(place)
                self._newest[place] = manifest.id
                earlier = self.chosen.setdefault(manifest.id, Chosen(manifest, source, candidate.created_at))
                if earlier.created_at < candidate.created_at:
                    self.chosen[manifest.id] = replace(earlier, created_at=candidate.created_at)

    def lacks(self) -> bool:
        """Whether something that is meant may still be missing."""
        wanted = self._repos if self._selection.repo is None else (self._selection.repo,)
        return not self.chosen or bool(self.failures or self.findings) or bool(self._absent(wanted))

    def choice(self) -> Choice:
        """What it came to."""
        # A store that nothing was backed up to yet is no trouble where another one has everything.
        troubles = [finding_of(failure) for failure in self.failures if not isinstance(failure, NotAnArchive)]
        wanted = self._repos if self._selection.repo is None else ()
        absent = [finding_of(NotInStore(str(repo))) for repo in self._absent(wanted)]
        chosen = sorted(self.chosen.values(), key=lambda item: item.manifest.key)
        return Choice(tuple(chosen), self._newest, (*self.findings, *troubles, *absent))

    def refuse(self, sources: Sequence[SnapshotSource], *, hubs: bool) -> None:
        """Says why nothing was chosen; `hubs` may give what a manifest describes.

        Raises:
            Failure: as `choose`.
        """
        empty = hubs and all(isinstance(failure, NotAnArchive) for failure in self.failures)
        if self.failures and len(self.failures) == len(sources) and not empty:
            raise self.failures[0]
        selection = self._selection
        wanted = str(selection.repo) if selection.repo is not None else ", ".join(map(str, self._repos))
        wanted = " ".join([wanted or "any snapshot", *_narrowed(selection)])
        asked = ", ".join(source.name for source in sources)
        trouble = "; ".join(str(failure) for failure in self.failures)
        trouble = trouble or "; ".join(f"{finding.problem.title}: {finding.subject}" for finding in self.findings)
        detail = f"asked {asked}" if asked else "no store is configured"
        if hubs:
            detail += f", {_NO_RECORD}"
        if not sources:
            raise SnapshotMissing(wanted, detail)
        raise NotInStore(wanted, f"{detail}; {trouble}" if trouble else detail)

    def _absent(self, wanted: Sequence[RepoId]) -> list[RepoId]:
        present = {item.manifest.key.repo for item in self.chosen.values()}
        return [repo for repo in wanted if repo not in present]


def _unused(sources: Sequence[SnapshotSource], failures: Sequence[Failure]) -> bool:
    """Whether the stores are archives that nothing was backed up to yet.

    A cache tree that holds nothing is none of these: it is a mount point where nothing is mounted, more likely.
    """
    trees = any(LinkMode.SYMLINK in source.modes() for source in sources)
    return bool(sources) and not trees and all(isinstance(failure, NotAnArchive) for failure in failures)


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


def _narrowed(selection: Selection) -> list[str]:
    """What a person asked for besides the repository."""
    options = {"--revision": selection.revision, "--layout": selection.layout, "--snapshot": selection.snapshot_id}
    return [f"{option} {value}" for option, value in options.items() if value is not None]

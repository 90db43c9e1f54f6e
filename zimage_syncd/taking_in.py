"""Takes directories in that lie where cache links belong, or that a person names; and data disks over."""

from __future__ import annotations

import os
from collections.abc import Iterator

from zimage_syncd.disk.guard import adopt_identity
from zimage_syncd.disk.identity import read_identity
from zimage_syncd.disk.links import aside_of, observe_link
from zimage_syncd.disk.observe import state_directory
from zimage_syncd.disk.old_directory import OldDirectory
from zimage_syncd.disk.one_place import is_one, lies_in, shows_in
from zimage_syncd.disk.writers import is_written_below
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, LinkOccupied, Stopped, TakeInBusy, UsageInvalid
from zimage_syncd.model.observation import LinkKind
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.report.words import size
from zimage_syncd.wiring import Workshop, ownership_of
from zimage_syncd.work.apply import finding_of
from zimage_syncd.work.site import Site
from zimage_syncd.work.take_in import TakeIn, TakenIn

_HUBS = {"hub": ("models--", "datasets--", "spaces--")}
"""Directories of a cache, and how the names in them begin: who names one of them means the directory above."""


class TakingIn:
    """Of one configuration."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._cache = workshop.config.cache

    def links(self) -> Report:
        """Takes in what lies where cache links belong; what fails is in the report.

        Raises:
            DataDiskMissing, DataDiskForeign, DataDiskUnknown, DataDiskReadOnly: this is not the disk to work on.
            CacheBusy: another process works on it.
            Stopped: somebody asked to stop; the next run goes on.
        """
        with self._workshop.site("take in") as site:
            return self._report(site, [(place, "") for place in self._occupied()])

    def adopt(self, path: str | None) -> Report:
        """Takes a data disk over, and directories in: a named one, or those that lie where cache links belong.

        Args:
            path: a directory that becomes a link into the cache; None, or the cache's own place: only the disk and what
                lies where cache links belong.

        Raises:
            UsageInvalid: the path is not there, or cannot be taken in.
            DataDiskMissing, DataDiskReadOnly: the data disk cannot be written to.
            TakeInBusy: all that there is to take in is being written to.
            CacheBusy, Stopped: as in `links`.
        """
        named = None if path is None or self._is_own(path) else os.path.abspath(path)
        if named is not None:
            self._require_foreign_to_cache(named)
        seen, verdict = self._workshop.observe()
        notes = adopt_identity(seen, verdict, self._workshop.clock.now())
        with self._workshop.site("adopt") as site:
            places = [(place, "") for place in self._occupied()]
            if named is not None and named not in dict(places):
                places.extend((named, _below(place)) for place in _to_take(named, self._cache.dir))
            report = self._report(site, places)
        if not (notes or report.notes) and report.findings and all(map(_is_busy, report.findings)):
            raise TakeInBusy(report.findings[0].subject, report.findings[0].detail)
        told = (*notes, *report.notes) or ("there is nothing to adopt: disk and links are this cache's already",)
        return Report(report.job, report.started_at, report.elapsed_s, (), report.findings, told)

    def _is_own(self, path: str) -> bool:
        own = {self._cache.dir, self._cache.mount, *self._cache.links}
        if os.path.abspath(path) in own:
            return True
        return not _is_aside(path) and any(is_one(path, place) for place in own if place)

    def _require_foreign_to_cache(self, path: str) -> None:
        facts = observe_link(path)
        if facts.kind is LinkKind.ABSENT and not _is_aside(path):
            raise UsageInvalid("adopt", f"{path}: there is no such directory")
        if facts.kind is not LinkKind.DIRECTORY and not _is_aside(path):
            raise UsageInvalid("adopt", f"{path}: expected a directory with content, found {facts.kind}")
        if any(map(self._overlaps, _to_take(path, self._cache.dir))):
            raise UsageInvalid("adopt", f"{path} and cache.dir = {self._cache.dir} lie in each other")
        if read_identity(state_directory(path, "")) is not None and not os.path.islink(path):
            detail = f"{path} is a data disk of this program; make it cache.mount, then run `zimage-syncd adopt`"
            raise UsageInvalid("adopt", detail)

    def _overlaps(self, path: str) -> bool:
        return lies_in(path, self._cache.dir) or lies_in(self._cache.dir, path)

    def _occupied(self) -> Iterator[str]:
        for link in self._cache.links:
            for _ in _to_take(link, self._cache.dir):
                yield link

    def _report(self, site: Site, places: list[tuple[str, str]]) -> Report:
        clock = self._workshop.clock
        started_at, started_s = clock.now(), clock.monotonic_s()
        findings: list[Finding] = []
        notes: list[str] = []
        for index, (place, below) in enumerate(places):
            if place in dict(places[:index]) and _is_aside(place):
                continue  # what lies there now waits for what lay there before
            try:
                done = self._one(site, place, below)
            except Stopped:
                raise
            except Failure as failure:
                findings.append(finding_of(failure))
            else:
                findings.extend(done.findings)
                notes.append(_told(place, f"{self._cache.dir}/{below}".rstrip("/"), done))
        return Report(Job.ADOPT, started_at, clock.monotonic_s() - started_s, (), tuple(findings), tuple(notes))

    def _one(self, site: Site, place: str, below: str) -> TakenIn:
        kind = observe_link(place).kind
        if kind is LinkKind.OTHER and not _is_aside(place):
            raise LinkOccupied(place, f"expected a symlink to {self._cache.dir}, found {kind}")
        if kind is LinkKind.DIRECTORY and self._overlaps(place):
            raise LinkOccupied(place, f"it and {self._cache.dir} lie in each other, by another mount")
        target = os.path.join(self._cache.dir, below) if below else self._cache.dir
        old = OldDirectory(place, target, below, ownership_of(self._cache.owner, self._cache.dir))
        if os.path.isdir(target) and shows_in(target, old.root):
            raise LinkOccupied(place, f"it and {target} are one directory, by two file systems")
        return TakeIn(site, old, is_written_below).run()


def _to_take(place: str, cache_dir: str) -> Iterator[str]:
    """What is to be taken in of a place, in order: what an earlier run left aside, and what lies there now."""
    if _is_aside(place):
        yield aside_of(place)
    if observe_link(place, cache_dir).kind in {LinkKind.DIRECTORY, LinkKind.OTHER}:
        yield place


def _is_aside(place: str) -> bool:
    return os.path.isdir(aside_of(place)) and not os.path.islink(aside_of(place))


def _below(path: str) -> str:
    """Which directory of the cache a named one is; empty: the whole."""
    names = os.listdir(path) if os.path.isdir(path) else []
    for directory, beginnings in _HUBS.items():
        if directory not in names and any(name.startswith(beginnings) for name in names):
            return directory
    return ""


def _is_busy(finding: Finding) -> bool:
    return finding.problem is problems.TAKE_IN_BUSY


def _told(place: str, target: str, done: TakenIn) -> str:
    how = f"{size(done.written_bytes)} copied" if done.written_bytes else "nothing copied"
    found = f"{done.files:,} {'file' if done.files == 1 else 'files'} taken in, {how}"
    link = f"now a link to {target}" if done.is_linked else "still a directory"
    return f"{place}: {found}, {done.equal_files:,} were in the cache already; {link}"

"""Which failure kept which entries back: what is no entry's own, such as a store's, is told once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zimage_syncd.model.manifest import Entry, Manifest
from zimage_syncd.model.problems import Problem
from zimage_syncd.model.report import Finding


@dataclass(frozen=True, slots=True)
class KeptBack:
    """A failure, and what is not as it should be for its sake."""

    failure: Finding
    """The first one of its kind."""
    entries: list[Entry]
    """One alone where the failure is its own."""

    @property
    def is_own(self) -> bool:
        """Whether the failure is about the entry itself, and says so."""
        return self.entries[0].path in self.failure.subject


def kept_back(manifest: Manifest, failed: Mapping[str, Finding]) -> list[KeptBack]:
    """The failures in the order of entries.

    Args:
        manifest: of the snapshot.
        failed: why entries are not as they should be, by path.
    """
    found: list[KeptBack] = []
    known: dict[tuple[Problem, str], KeptBack] = {}
    for entry in manifest.entries:
        failure = failed.get(entry.path)
        if failure is None:
            continue
        same = known.get((failure.problem, failure.subject))
        if same is not None:
            same.entries.append(entry)
            continue
        found.append(KeptBack(failure, [entry]))
        if not found[-1].is_own:
            known[failure.problem, failure.subject] = found[-1]
    return found

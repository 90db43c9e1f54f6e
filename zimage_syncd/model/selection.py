"""Which snapshots a command is about."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_syncd.model.snapshot import LayoutName, RepoId


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person named; everything that is None means all of that kind."""

    repo: RepoId | None = None
    """A repository; None: the configured ones, or all where none is configured."""
    revision: str | None = None
    """A branch, tag or commit."""
    layout: LayoutName | None = None
    """One layout only."""
    snapshot_id: str | None = None
    """A manifest's id, or its beginning (8 and more characters)."""

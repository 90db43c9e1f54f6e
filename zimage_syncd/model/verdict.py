"""What an observation means: several things are true at once (docs: what happened)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Boot(enum.StrEnum):
    """Whether the machine was started since the daemon last worked here."""

    SAME = "same"
    """It is still up: the daemon alone was started again."""
    NEW = "new"
    UNKNOWN = "unknown"
    """Nothing is remembered of the last time."""


class SystemState(enum.StrEnum):
    """The system disk, compared with what the data disk remembers."""

    SAME = "same"
    NEW = "new"
    """A reset: the cache is known here, the system disk is not the one that used it last."""
    FIRST = "first"
    """Neither side remembers anything."""
    ROLLED_BACK = "rolled back"
    """The system disk is an older state of itself."""


class DataState(enum.StrEnum):
    """The data disk; several may hold."""

    HERE = "here"
    MISSING = "missing"
    FOREIGN = "foreign"
    EMPTY = "empty"
    """It holds no identity: this program has not used it yet, whatever else lies there."""
    UNKNOWN = "unknown"
    """It holds an identity that cannot be understood, so whose disk it is nobody can say."""
    IN_USE = "in use by another host"
    """It lies on a network file system, and another host holds its lease, or may."""
    READ_ONLY = "read-only"
    FULL = "full"
    ROLLED_BACK = "rolled back"
    """It is an older state of itself: a snapshot of it was put back."""
    MOVED = "moved"
    """Its content lies on another file system than last time: it was copied, or the disk was made anew."""


_NOT_OURS_TO_WRITE = frozenset(
    {DataState.MISSING, DataState.FOREIGN, DataState.UNKNOWN, DataState.IN_USE, DataState.READ_ONLY}
)


class CacheState(enum.StrEnum):
    """The cache directory."""

    WHOLE = "whole"
    """Everything that is meant to be there is complete."""
    PARTIAL = "partial"
    """Something is there, and something is missing."""
    PRESENT = "present"
    """Something is there; nobody looked whether it is all."""
    GONE = "gone"
    UNKNOWN = "unknown"
    """The data disk is missing or foreign, so nothing can be said."""


class LinkState(enum.StrEnum):
    """One cache link."""

    GOOD = "good"
    LOST = "lost"
    REAL_DIRECTORY = "real directory"
    ELSEWHERE = "elsewhere"
    DANGLING = "dangling"
    HALF_TAKEN = "half taken in"
    """The link is right, and the directory that lay in its place still lies beside it: a run was killed."""

    @property
    def words(self) -> str:
        """As the end of a sentence: `it is …`."""
        return f"a {self}" if self is LinkState.REAL_DIRECTORY else str(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happened."""

    system: SystemState
    """The system disk."""
    data: frozenset[DataState]
    """The data disk."""
    cache: CacheState
    """The cache directory."""
    links: tuple[tuple[str, LinkState], ...]
    """Each configured link's path and state."""
    evidence: tuple[str, ...]
    """Sentences that say why."""
    boot: Boot = Boot.UNKNOWN
    """Whether the machine was started since."""

    @property
    def may_write(self) -> bool:
        """Whether this is the right disk, it takes writes, and no other host makes them."""
        return not self.data & _NOT_OURS_TO_WRITE

    @property
    def obstacle(self) -> str:
        """Why nothing may be written, for people; empty where it may."""
        if self.may_write:
            return ""
        evidence = self.evidence if DataState.IN_USE in self.data else ()
        return "; ".join((f"the data disk is {', '.join(sorted(self.data))}", *evidence))

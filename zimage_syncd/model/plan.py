"""What a restore or repair is going to do, as data: printed by `--dry-run`, carried out otherwise."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from zimage_syncd.model import problems
from zimage_syncd.model.manifest import Entry, FileEntry, Manifest
from zimage_syncd.model.problems import Problem


class LinkMode(enum.StrEnum):
    """How payload comes from a store on a mounted file system into the cache."""

    AUTO = "auto"
    """reflink where the file system can, else copy; for a mount: what its store's `mode` says."""
    SYMLINK = "symlink"
    HARDLINK = "hardlink"
    REFLINK = "reflink"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Keep:
    """The entry is there and right."""

    entry: Entry
    """Which."""
    reason: str
    """How that is known."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file is written anew."""

    entry: FileEntry
    """Which."""
    reason: str
    """Why: missing, wrong size, ..."""
    fetch_bytes: int
    """Bytes that have to come from a source; less than the size where a partial file has some already, or where a
    restore finds them on this disk or under another name."""
    problem: Problem = problems.FILE_MISSING
    """What a verification calls this."""
    missing: tuple[int, ...] | None = None
    """Indexes of the chunks that a partial file lacks; None: there is no partial, all of them."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A file is mended by chunk."""

    entry: FileEntry
    """Which."""
    reason: str
    """What was found."""
    chunks: tuple[int, ...]
    """Indexes of the chunks to fetch."""
    fetch_bytes: int
    """Their bytes, as far as they have to come from a source."""
    quarantine: bool
    """Whether the present content is kept aside first: somebody else wrote it."""
    problem: Problem = problems.FILE_DAMAGED
    """What a verification calls this."""


@dataclass(frozen=True, slots=True)
class Link:
    """A symlink or a pointer is made."""

    entry: Entry
    """Which."""
    reason: str
    """Why."""
    problem: Problem = problems.LINK_WRONG
    """What a verification calls this."""


@dataclass(frozen=True, slots=True)
class SetMode:
    """A file's permissions are corrected; its content is right."""

    entry: FileEntry
    """Which."""
    reason: str
    """Expected and found."""
    problem: Problem = problems.MODE_WRONG
    """What a verification calls this."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing is done about this entry."""

    entry: Entry
    """Which."""
    reason: str
    """Why not, and what a person can do."""
    problem: Problem = problems.UNSAFE_PATH
    """What a verification calls this."""


Action = Keep | Fetch | Repair | Link | SetMode | Refuse


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """What happens to one snapshot."""

    manifest: Manifest
    """What it shall be."""
    source: str
    """The store that its manifest and bytes come from first."""
    mode: LinkMode
    """How its payload arrives."""
    directory: str
    """The absolute path that `from_pretrained` will take."""
    actions: tuple[Action, ...]
    """One for each entry."""

    @property
    def links_payload(self) -> bool:
        """Whether files that are missing arrive without a byte of them being read."""
        return self.mode in {LinkMode.SYMLINK, LinkMode.HARDLINK, LinkMode.REFLINK}

    @property
    def fetch_bytes(self) -> int:
        """Bytes to read from sources."""
        read = (Repair,) if self.links_payload else (Fetch, Repair)
        return sum(action.fetch_bytes for action in self.actions if isinstance(action, read))

    @property
    def is_empty(self) -> bool:
        """Whether everything is there already."""
        return all(isinstance(action, Keep) for action in self.actions)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is going to do."""

    snapshots: tuple[SnapshotPlan, ...]
    """In order."""
    needed_bytes: int
    """Disk space that has to be free: what it takes while it runs, and a little that it leaves."""
    free_bytes: int
    """What the disk has."""
    links: tuple[str, ...] = ()
    """Cache links that are made, as `PATH -> TARGET`."""

    @property
    def fetch_bytes(self) -> int:
        """Bytes to read from sources."""
        return sum(snapshot.fetch_bytes for snapshot in self.snapshots)

    @property
    def fits(self) -> bool:
        """Whether the disk can take it."""
        return self.needed_bytes <= self.free_bytes

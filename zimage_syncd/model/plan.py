"""What a restore or repair is going to do, as data: printed by `--dry-run`, carried out otherwise."""

from __future__ import annotations

import enum
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

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


class Actions(Sequence[Action]):
    """One action for each entry of a manifest, in its order.

    Only which of the different actions each entry has is kept: with 100,000 files nearly all have the same one.
    """

    def __init__(self, entries: Sequence[Entry], actions: Iterable[Action] = ()) -> None:
        """Begins with some.

        Args:
            entries: a manifest's.
            actions: of the first entries, in order; the others have none until `put` gives them one.
        """
        self._entries = entries
        self._numbers = array("I", bytes(array("I").itemsize * len(entries)))
        self._kinds: list[_Without] = []
        self._known: dict[_Without, int] = {}
        for index, action in enumerate(actions):
            self.put(index, action)

    def put(self, index: int, action: Action) -> None:
        """Gives an entry its action; from one thread at a time."""
        values = tuple(getattr(action, name) for name in _FIELDS[type(action)])
        without = (type(action), values)
        number = self._known.setdefault(without, len(self._kinds))
        if number == len(self._kinds):
            self._kinds.append(without)
        self._numbers[index] = number

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Action]:
        return (_with(entry, self._kinds[number]) for entry, number in zip(self._entries, self._numbers, strict=True))

    @overload
    def __getitem__(self, index: int) -> Action: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Action]: ...

    def __getitem__(self, index: int | slice) -> Action | Sequence[Action]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return _with(self._entries[index], self._kinds[self._numbers[index]])

    def changes(self) -> Iterator[Action]:
        """All but those that keep their entry."""
        kept = {number for number, (kind, _) in enumerate(self._kinds) if kind is Keep}
        if kept.issuperset(self._numbers):
            return iter(())
        chosen = ((entry, number) for entry, number in zip(self._entries, self._numbers, strict=True))
        return (_with(entry, self._kinds[number]) for entry, number in chosen if number not in kept)

    def count(self, value: object) -> int:
        """How many are of a kind, such as `Keep`; of an action, how many are equal to it."""
        if not isinstance(value, type):
            return super().count(value)
        return sum(
            count for number, count in Counter(self._numbers).items() if issubclass(self._kinds[number][0], value)
        )

    def count_kept(self, beginning: str) -> int:
        """How many keep their entry for a reason that begins so."""
        kept = {
            number
            for number, (kind, values) in enumerate(self._kinds)
            if kind is Keep and values[0].startswith(beginning)
        }
        return sum(count for number, count in Counter(self._numbers).items() if number in kept)


_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if field.name != "entry")
    for kind in (Keep, Fetch, Repair, Link, SetMode, Refuse)
}

_Without = tuple[type[Action], tuple[Any, ...]]
"""An action without its entry."""


def _with(entry: Entry, without: _Without) -> Action:
    kind, values = without
    make: Callable[..., Action] = kind
    return make(entry, *values)


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
    actions: Actions
    """One for each entry."""

    @property
    def links_payload(self) -> bool:
        """Whether files that are missing arrive without a byte of them being read."""
        return self.mode in {LinkMode.SYMLINK, LinkMode.HARDLINK, LinkMode.REFLINK}

    @property
    def fetch_bytes(self) -> int:
        """Bytes to read from sources."""
        read = (Repair,) if self.links_payload else (Fetch, Repair)
        return sum(action.fetch_bytes for action in self.actions.changes() if isinstance(action, read))

    @property
    def is_empty(self) -> bool:
        """Whether everything is there already."""
        return self.actions.count(Keep) == len(self.actions)


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
    notes: tuple[str, ...] = ()
    """Sentences about what is left as it is."""

    @property
    def fetch_bytes(self) -> int:
        """Bytes to read from sources."""
        return sum(snapshot.fetch_bytes for snapshot in self.snapshots)

    @property
    def fits(self) -> bool:
        """Whether the disk can take it."""
        return self.needed_bytes <= self.free_bytes

"""A manifest's entries, packed: what `model/packed.py` has to know of files, links and pointers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from zimage_syncd.model.entries import Entry, FileEntry, LinkEntry, PointerEntry
from zimage_syncd.model.packed import Packed, Row, setters
from zimage_syncd.model.path import RelPath

_LONG_TEXT_CHARS = 4096
"""A pointer with a longer text is kept as it is: its text is shared with the snapshot that it was recorded from."""

_HEX_DIGITS = 64

_set_file = setters(FileEntry, "path", "size_bytes", "mode", "sha256", "chunks")
_set_link = setters(LinkEntry, "path", "target")
_set_pointer = setters(PointerEntry, "path", "text", "mode")

Kind = TypeVar("Kind", FileEntry, LinkEntry, PointerEntry)


class Entries(Packed[Entry]):
    """Packed entries that were checked, and how many there are of each kind.

    Args:
        entries: sorted by path.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.counts: Counter[type[Entry]] = Counter()
        """How many there are of each kind."""
        self.size_bytes = 0
        """Bytes of payload."""
        super().__init__(map(_row, self._counted(entries)), _entry)

    def _counted(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self.counts[type(entry)] += 1
            if isinstance(entry, FileEntry):
                self.size_bytes += entry.size_bytes
            yield entry


class OfKind(Sequence[Kind], Generic[Kind]):
    """Those of a manifest's entries that are files, links or pointers; walked over in order.

    Args:
        entries: all.
        kind: which.
    """

    def __init__(self, entries: Entries, kind: type[Kind]) -> None:
        self._entries = entries
        self._kind: type[Kind] = kind

    def __len__(self) -> int:
        return self._entries.counts[self._kind]

    def __iter__(self) -> Iterator[Kind]:
        kind = self._kind
        return (entry for entry in self._entries if isinstance(entry, kind))

    @overload
    def __getitem__(self, index: int) -> Kind: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Kind]: ...

    def __getitem__(self, index: int | slice) -> Kind | Sequence[Kind]:
        return tuple(self)[index]


def _row(entry: Entry) -> Row | Entry:
    match entry:
        case FileEntry(path, size_bytes, mode, sha256, chunks):
            return path, size_bytes, mode, bytes.fromhex(sha256), bytes.fromhex("".join(chunks))
        case LinkEntry(path, target):
            return path, target[:]
        case PointerEntry(path, text, mode):
            return entry if len(text) > _LONG_TEXT_CHARS else (path, text, mode)


def _entry(path: str, row: Row) -> Entry:
    """Without checks: these values are from an entry that was made, and checked, before."""
    place = str.__new__(RelPath, path)
    match len(row):
        case 5:
            chunks = row[4].hex()
            digests = (
                (chunks,)
                if len(chunks) == _HEX_DIGITS
                else tuple(chunks[at : at + _HEX_DIGITS] for at in range(0, len(chunks), _HEX_DIGITS))
            )
            return _made(FileEntry, _set_file, (place, row[1], row[2], row[3].hex(), digests))
        case 2:
            return _made(LinkEntry, _set_link, (place, row[1]))
        case _:
            return _made(PointerEntry, _set_pointer, (place, row[1], row[2]))


def _made(kind: type[Kind], fields: Sequence[Callable[[object, object], None]], values: Iterable[Any]) -> Kind:
    made = object.__new__(kind)
    for set_field, value in zip(fields, values, strict=True):
        set_field(made, value)
    return made

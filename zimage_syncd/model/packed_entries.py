"""A manifest's entries, packed: what `model/packed.py` has to know of files, links and pointers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from zimage_syncd.model.entries import Entry, FileEntry, LinkEntry, PointerEntry
from zimage_syncd.model.packed import Packed, Row, setters
from zimage_syncd.model.path import RelPath

_LONG_TEXT_CHARS = 4096
"""A pointer with a longer text is kept as it is: its text is shared with the snapshot that it was recorded from."""

_HEX_DIGITS = 64

_FILE_VALUES = 5
_LINK_VALUES = 2
_POINTER_VALUES = 3

_set_path, _set_size, _set_mode, _set_sha256, _set_chunks = setters(
    FileEntry, "path", "size_bytes", "mode", "sha256", "chunks"
)
_set_link_path, _set_target = setters(LinkEntry, "path", "target")

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
        super().__init__((), _entry)
        for _ in self.taken(entries):
            pass

    def taken(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Adds entries, and gives them on."""
        counts, append = self.counts, self.append
        for entry in entries:
            counts[type(entry)] += 1
            if isinstance(entry, FileEntry):
                self.size_bytes += entry.size_bytes
            append(_row(entry))
            yield entry
        self.seal()

    def blobs(self) -> Iterator[tuple[bytes, int]]:
        """The sha256 of each file, and its bytes; no object is made for it."""
        for row in self.rows():
            if len(row) == _FILE_VALUES:
                yield row[3], row[1]

    def of_kind(self, kind: type[Kind]) -> Iterator[Kind]:
        """Those of one kind; of the others no object is made."""
        values = {FileEntry: _FILE_VALUES, LinkEntry: _LINK_VALUES}.get(kind, _POINTER_VALUES)
        found = self.selected(lambda row: len(row) == values)
        return (entry for entry in found if isinstance(entry, kind))


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
        return self._entries.of_kind(self._kind)

    @overload
    def __getitem__(self, index: int) -> Kind: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Kind]: ...

    def __getitem__(self, index: int | slice) -> Kind | Sequence[Kind]:
        return tuple(self)[index]


def _row(entry: Entry) -> Row | Entry:
    if isinstance(entry, FileEntry):
        chunks = bytes.fromhex("".join(entry.chunks))
        return entry.path, entry.size_bytes, entry.mode, bytes.fromhex(entry.sha256), chunks
    if isinstance(entry, LinkEntry):
        return entry.path, entry.target
    return entry if len(entry.text) > _LONG_TEXT_CHARS else (entry.path, entry.text, entry.mode)


def _entry(path: str, row: Row) -> Entry:
    """Without checks: these values are from an entry that was made, and checked, before."""
    place = str.__new__(RelPath, path)
    kind = len(row)
    if kind == _FILE_VALUES:
        file = object.__new__(FileEntry)
        _set_path(file, place)
        _set_size(file, row[1])
        _set_mode(file, row[2])
        _set_sha256(file, row[3].hex())
        chunks = row[4].hex()
        several = range(0, len(chunks), _HEX_DIGITS)
        _set_chunks(file, (chunks,) if len(several) == 1 else tuple(chunks[at : at + _HEX_DIGITS] for at in several))
        return file
    if kind == _LINK_VALUES:
        link = object.__new__(LinkEntry)
        _set_link_path(link, place)
        _set_target(link, row[1])
        return link
    return PointerEntry(place, row[1], row[2])

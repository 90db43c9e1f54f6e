"""Long sequences of small records, kept as bytes and made into objects while somebody walks over them.

The objects of 100,000 files with their links take 86 MiB, the same packed 21 MiB; and what is no object is nothing that
Python's garbage collector walks over again and again.
"""

from __future__ import annotations

import itertools
import marshal
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

_A_PIECE = 256
"""Records that are packed together, and made into objects together."""

PLAIN = 2
"""marshal's format without references between values. Nothing that is packed ever leaves the process."""

T = TypeVar("T")

Row = tuple[Any, ...]
"""A record's values: texts, bytes, integers, None. The first one is a text, of which records that follow each other
share the beginning, such as a path."""


class Packed(Sequence[T], Generic[T]):
    """A sequence to which records are added at the end; equal to another packed one of equal records."""

    def __init__(self, rows: Iterable[Row | T], unpack: Callable[[str, Row], T]) -> None:
        """Packs what there is.

        Args:
            rows: walked over once: the values of each record, or a record that is better kept as it is, such as a
                long text.
            unpack: makes the record, from its first value and all of them; the first one in the second is cut.
        """
        self._unpack = unpack
        self._pieces: list[bytes | T] = []
        self._starts: list[int] = []
        self._count = 0
        self._rows: list[Row] = []
        for row in rows:
            self.append(row)
        self.seal()

    def append(self, row: Row | T) -> None:
        """One more record, in one of the two forms."""
        if isinstance(row, tuple):
            self._rows.append(row)
            if len(self._rows) == _A_PIECE:
                self.seal()
        else:
            self.seal()
            self._add(row, 1)

    def seal(self) -> None:
        """Packs what was added last; afterwards several threads may walk over it."""
        rows, self._rows = self._rows, []
        if rows:
            cut = _shared_chars([row[0] for row in rows])
            shared = rows[0][0][:cut]
            self._add(marshal.dumps((shared, [(row[0][cut:], *row[1:]) for row in rows]), PLAIN), len(rows))

    def _add(self, piece: bytes | T, count: int) -> None:
        self._starts.append(self._count)
        self._pieces.append(piece)
        self._count += count

    def _opened(self, piece: bytes | T) -> Sequence[T]:
        if not isinstance(piece, bytes):
            return (piece,)
        shared, rows = marshal.loads(piece)  # noqa: S302 - our own, from this process
        return [self._unpack(shared + row[0], row) for row in rows]

    def rows(self) -> Iterator[Row]:
        """The values of all records but those that are kept as they are; the first value is cut."""
        self.seal()
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield from marshal.loads(piece)[1]  # noqa: S302 - as below

    def selected(self, wanted: Callable[[Row], bool]) -> Iterator[T]:
        """Only records whose values (the first one cut) are wanted, and all that are kept as they are."""
        self.seal()
        for piece in self._pieces:
            if isinstance(piece, bytes):
                shared, rows = marshal.loads(piece)  # noqa: S302 - as above
                for row in rows:
                    if wanted(row):
                        yield self._unpack(shared + row[0], row)
            else:
                yield piece

    def __len__(self) -> int:
        return self._count + len(self._rows)

    def __iter__(self) -> Iterator[T]:
        self.seal()
        return itertools.chain.from_iterable(map(self._opened, self._pieces))

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        self.seal()
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(index)
        number = bisect_right(self._starts, place) - 1
        return self._opened(self._pieces[number])[place - self._starts[number]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packed):
            return NotImplemented
        self.seal()
        other.seal()
        return self._pieces == other._pieces

    def __hash__(self) -> int:
        self.seal()
        return hash(tuple(self._pieces))


def _shared_chars(texts: Sequence[str]) -> int:
    """How many characters all of them begin with."""
    first, last = min(texts), max(texts)
    return next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))


def setters(record: type, *names: str) -> list[Callable[[object, object], None]]:
    """How fields of a frozen record with slots are set, without what its `__init__` and `__post_init__` check.

    Only for what was checked when the record was made for the first time.
    """
    return [record.__dict__[name].__set__ for name in names]

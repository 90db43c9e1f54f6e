"""A snapshot's files and links as a survey found them, packed: what `model/packed.py` has to know of them."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator
from functools import partial

from zimage_syncd.model.packed import Packed, Row, setters
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import DigestAlgorithm, ExpectedDigest, FileStat, LocalFile, LocalLink

_FEW = 1000
"""Up to so many are given as they are."""

_PLAIN = 2
"""As in `model/packed.py`."""

_ALGORITHMS = tuple(DigestAlgorithm)

_set_file = setters(LocalFile, "path", "size_bytes", "mode", "expected", "linked_to", "stat")
_set_stat = setters(FileStat, "inode", "size_bytes", "mtime_ns", "ctime_ns", "mode", "links")
_set_expected = setters(ExpectedDigest, "algorithm", "hex", "source")
_set_link = setters(LocalLink, "path", "target")


class FilesByPath:
    """Files that are gathered in any order, each path once; every one is kept as bytes."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._sources: list[str] = []

    def add(self, file: LocalFile) -> None:
        """Keeps a file."""
        stat, expected = file.stat, file.expected
        row = (
            file.size_bytes,
            file.mode,
            None if expected is None else _ALGORITHMS.index(expected.algorithm),
            None if expected is None else bytes.fromhex(expected.hex),
            None if expected is None else self._source(expected.source),
            file.linked_to,
            None
            if stat is None
            else (stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns, stat.mode, stat.links),
        )
        self._rows[file.path[:]] = marshal.dumps(row, _PLAIN)

    def _source(self, source: str) -> int:
        """Very many files have a digest from one and the same place."""
        if not self._sources or self._sources[-1] != source:
            if source in self._sources:
                return self._sources.index(source)
            self._sources.append(source)
        return len(self._sources) - 1

    def get(self, path: str) -> LocalFile | None:
        """A file that was kept."""
        row = self._rows.get(path)
        return None if row is None else _file(self._sources, path, ("", *marshal.loads(row)))  # noqa: S302 - our own

    def take_all(self) -> tuple[LocalFile, ...] | LocalFiles:
        """All files, sorted by path; none is kept any more."""
        if len(self._rows) <= _FEW:
            paths = sorted(self._rows)
            found = tuple(file for file in map(self.get, paths) if file is not None)
            self._rows.clear()
            return found
        return LocalFiles(self._take(), self._sources)

    def _take(self) -> Iterator[Row]:
        for path in sorted(self._rows):
            yield (path, *marshal.loads(self._rows.pop(path)))  # noqa: S302 - our own


class LocalFiles(Packed[LocalFile]):
    """Packed files, and how large they are together.

    Args:
        rows: as `FilesByPath` keeps them, with their paths; sorted by these.
        sources: which of them a row means by a number.
    """

    def __init__(self, rows: Iterable[Row], sources: list[str]) -> None:
        self.size_bytes = 0
        """Of all files together."""
        super().__init__(self._counted(rows), partial(_file, sources))

    def _counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self.size_bytes += row[1]
            yield row


class LinksInOrder:
    """Links that are gathered in the order of their paths, but for those that other links lead to."""

    def __init__(self) -> None:
        self._direct: Packed[LocalLink] = Packed((), _link)
        self._others: dict[str, str] = {}

    def add(self, path: str, target: str, *, in_order: bool) -> None:
        """Keeps a link.

        Args:
            path: where it is.
            target: its text.
            in_order: it sorts after all that were kept with this before.
        """
        if in_order:
            self._direct.append((path[:], target))
        else:
            self._others[path[:]] = target

    def take_all(self) -> tuple[LocalLink, ...] | Packed[LocalLink]:
        """All links, sorted by path, each once."""
        direct = self._direct
        if self._others:
            found = {link.path[:]: link.target for link in direct} | self._others
            direct = Packed(((path, found[path]) for path in sorted(found)), _link)
        return tuple(direct) if len(direct) <= _FEW else direct


def _file(sources: list[str], path: str, row: Row) -> LocalFile:
    _, size_bytes, mode, algorithm, digest, source, linked_to, stat = row
    expected = None
    if algorithm is not None:
        expected = object.__new__(ExpectedDigest)
        for set_field, value in zip(
            _set_expected, (_ALGORITHMS[algorithm], digest.hex(), sources[source]), strict=True
        ):
            set_field(expected, value)
    seen = None
    if stat is not None:
        seen = object.__new__(FileStat)
        for set_field, value in zip(_set_stat, stat, strict=True):
            set_field(seen, value)
    made = object.__new__(LocalFile)
    values = (str.__new__(RelPath, path), size_bytes, mode, expected, linked_to, seen)
    for set_field, value in zip(_set_file, values, strict=True):
        set_field(made, value)
    return made


def _link(path: str, row: Row) -> LocalLink:
    made = object.__new__(LocalLink)
    for set_field, value in zip(_set_link, (str.__new__(RelPath, path), row[1]), strict=True):
        set_field(made, value)
    return made

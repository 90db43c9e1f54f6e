"""A snapshot's files and links as a survey found them, packed: what `model/packed.py` has to know of them."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

from zimage_syncd.model.packed import PLAIN, Packed, Row, setters
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import DigestAlgorithm, ExpectedDigest, FileStat, LocalFile, LocalLink

_FEW = 1000
"""Up to so many are given as they are."""

_ALGORITHMS = tuple(DigestAlgorithm)

_set_path, _set_size, _set_mode, _set_expected, _set_linked_to, _set_stat = setters(
    LocalFile, "path", "size_bytes", "mode", "expected", "linked_to", "stat"
)
_set_inode, _set_stat_size, _set_mtime, _set_ctime, _set_stat_mode, _set_links = setters(
    FileStat, "inode", "size_bytes", "mtime_ns", "ctime_ns", "mode", "links"
)
_set_algorithm, _set_hex, _set_source = setters(ExpectedDigest, "algorithm", "hex", "source")
_set_link_path, _set_target = setters(LocalLink, "path", "target")


class Status(Protocol):
    """What is taken of an `os.stat_result`."""

    @property
    def st_mode(self) -> int:
        """Type and permissions."""

    @property
    def st_ino(self) -> int:
        """The inode."""

    @property
    def st_nlink(self) -> int:
        """Its names."""

    @property
    def st_size(self) -> int:
        """Bytes."""

    @property
    def st_mtime_ns(self) -> int:
        """When its content changed."""

    @property
    def st_ctime_ns(self) -> int:
        """When anything of it changed."""


class FilesByPath:
    """Files that are gathered in any order, each path once; every one is kept as bytes."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._sources: list[str] = []

    def add(self, path: RelPath, status: Status, expected: ExpectedDigest | None, linked_to: str | None) -> None:
        """Keeps a file.

        Args:
            path: where it is.
            status: its stat; of one that is linked, that of what it leads to.
            expected: what it must hash to, where that is known.
            linked_to: where it leads to in a recorded store; None for a file of its own.
        """
        mode = status.st_mode & 0o777
        stat = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_nlink) if linked_to is None else None
        row: Row = (status.st_size, mode, linked_to, stat, None, None, None)
        if expected is not None:
            algorithm, digest = _ALGORITHMS.index(expected.algorithm), bytes.fromhex(expected.hex)
            row = (status.st_size, mode, linked_to, stat, algorithm, digest, self._source(expected.source))
        self._rows[path[:]] = marshal.dumps(row, PLAIN)

    def __contains__(self, path: str) -> bool:
        return path in self._rows

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
        direct.seal()
        return tuple(direct) if len(direct) <= _FEW else direct


def _file(sources: list[str], path: str, row: Row) -> LocalFile:
    """One setter after the other: this is done for each of 100,000 files, and a loop takes twice as long."""
    _, size_bytes, mode, linked_to, values, algorithm, digest, source = row
    expected = stat = None
    if algorithm is not None:
        expected = object.__new__(ExpectedDigest)
        _set_algorithm(expected, _ALGORITHMS[algorithm])
        _set_hex(expected, digest.hex())
        _set_source(expected, sources[source])
    if values is not None:
        stat = object.__new__(FileStat)
        _set_inode(stat, values[0])
        _set_stat_size(stat, size_bytes)
        _set_mtime(stat, values[1])
        _set_ctime(stat, values[2])
        _set_stat_mode(stat, mode)
        _set_links(stat, values[3])
    made = object.__new__(LocalFile)
    _set_path(made, str.__new__(RelPath, path))
    _set_size(made, size_bytes)
    _set_mode(made, mode)
    _set_expected(made, expected)
    _set_linked_to(made, linked_to)
    _set_stat(made, stat)
    return made


def _link(path: str, row: Row) -> LocalLink:
    made = object.__new__(LocalLink)
    _set_link_path(made, str.__new__(RelPath, path))
    _set_target(made, row[1])
    return made

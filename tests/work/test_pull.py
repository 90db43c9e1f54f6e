"""Pull: pieces of any size become chunks, what is too short gives none, and nothing is written beside the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.content import Content
from tests.support.site import entry_of
from zimage_syncd.model.failures import DeviceFull, Stopped
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.ports import Partial
from zimage_syncd.work.gathering import OpenFile, Run
from zimage_syncd.work.pull import NotWritten, pull

DATA = Content(5).randbytes(2 * CHUNK_BYTES + 777)
ENTRY = entry_of("models/file", DATA)
WHOLE = range(3)


class Sheet:
    """A partial in memory."""

    def __init__(self) -> None:
        self.data = bytearray(len(DATA))
        self.full = False

    def write(self, offset: int, data: memoryview) -> None:
        if self.full:
            raise DeviceFull("disk", "full")
        assert offset + len(data) <= len(DATA)
        self.data[offset : offset + len(data)] = data


class PieceSource:
    """Gives bytes in pieces of its own choice."""

    name = "pieces"

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.given = 0

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        for piece in self.pieces:
            self.given += 1
            yield memoryview(piece)

    def local_path(self, file: FileEntry) -> str | None:
        return None


def run_of(sheet: Sheet, chunks: range) -> Run:
    file = OpenFile.__new__(OpenFile)
    file.entry = ENTRY
    file.partial = cast("Partial", sheet)
    return Run(file, chunks)


def pulled(
    pieces: list[bytes],
    chunks: range = WHOLE,
    sheet: Sheet | None = None,
    on_piece: Callable[[int], None] = lambda _count: None,
    check: Callable[[], None] = lambda: None,
) -> list[int]:
    """Indexes of the chunks that came right."""
    run = run_of(sheet or Sheet(), chunks)
    found = list(pull(PieceSource(pieces), run, memoryview(bytearray(1)), on_piece, check))
    return [index for index, digest in found if digest == ENTRY.chunks[index]]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    return [data[start:stop] for start, stop in pairwise(edges)]


places = st.one_of(
    st.integers(0, len(DATA)), st.sampled_from([CHUNK_BYTES, CHUNK_BYTES + 1, CHUNK_BYTES - 1, 2 * CHUNK_BYTES])
)


@settings(max_examples=25, deadline=None)
@given(st.lists(places, max_size=6))
def test_pieces_of_any_size_become_chunks(cuts: list[int]) -> None:
    sheet = Sheet()
    assert pulled(cut(DATA, cuts), sheet=sheet) == [0, 1, 2]
    assert bytes(sheet.data) == DATA


def test_every_byte_is_told_once_and_empty_pieces_are_signs_of_life() -> None:
    told: list[int] = []
    assert pulled([b"", DATA[:100], b"", DATA[100:]], on_piece=told.append) == [0, 1, 2]
    assert sum(told) == len(DATA)
    assert told.count(0) == 2


@pytest.mark.parametrize(("length", "whole"), [(0, []), (5, []), (CHUNK_BYTES, [0]), (2 * CHUNK_BYTES + 776, [0, 1])])
def test_what_is_too_short_gives_the_chunks_that_are_whole(length: int, whole: list[int]) -> None:
    assert pulled([DATA[:length]]) == whole


def test_what_is_too_long_is_not_taken_and_not_waited_for() -> None:
    sheet = Sheet()
    source = PieceSource([DATA[CHUNK_BYTES : 2 * CHUNK_BYTES] + b"more", *[b"and more"] * 1000])
    run = run_of(sheet, range(1, 2))
    found = list(pull(source, run, memoryview(bytearray(1)), lambda _count: None, lambda: None))
    assert found == [(1, ENTRY.chunks[1])]
    assert source.given == 1
    assert bytes(sheet.data[2 * CHUNK_BYTES :]) == bytes(777)


def test_a_flipped_bit_costs_its_chunk_only() -> None:
    bad = bytearray(DATA)
    bad[CHUNK_BYTES + 5] ^= 1
    assert pulled(cut(bytes(bad), [1000, CHUNK_BYTES + 3])) == [0, 2]


def test_ones_own_disk_is_told_from_the_source() -> None:
    sheet = Sheet()
    sheet.full = True
    with pytest.raises(NotWritten) as caught:
        pulled([DATA], sheet=sheet)
    assert isinstance(caught.value.failure, DeviceFull)


def test_a_wish_to_stop_is_heard_with_every_piece() -> None:
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Stopped("test")

    with pytest.raises(Stopped):
        pulled([DATA[:10], b"", DATA[10:20]], check=check)
    assert looks == 3

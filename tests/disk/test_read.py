"""Reading past the page cache: right bytes at every length, nothing evicted, nothing left behind."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zimage_syncd.disk import read
from zimage_syncd.disk.page_cache import resident_pages
from zimage_syncd.disk.read import READ_BYTES, CachedReader, DiskReader

MIB = 2**20


def read_all(reader: CachedReader, place: Path, offset: int, length: int) -> bytes:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        reader.begin(descriptor)
        return b"".join(bytes(piece) for piece in reader.pieces(descriptor, offset, length))
    finally:
        os.close(descriptor)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, 3 * READ_BYTES), page=st.integers(0, 800), length=st.integers(1, 3 * READ_BYTES))
@pytest.mark.parametrize("kind", [CachedReader, DiskReader])
def test_any_range_of_any_file_is_read_right(
    tmp_path: Path, kind: type[CachedReader], size: int, page: int, length: int
) -> None:
    place = tmp_path / "file"
    data = os.urandom(size)
    place.write_bytes(data)  # dirty in the page cache, and seen all the same
    assert read_all(kind(), place, page * 4096, length) == data[page * 4096 : page * 4096 + length]


def resident(place: Path) -> int:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        return resident_pages(descriptor, 0, place.stat().st_size)
    finally:
        os.close(descriptor)


def forget(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    if resident(place):
        pytest.skip("this file system keeps its pages: it lives in memory")


@pytest.fixture(params=["direct", "refused at once", "refused at the first read"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DiskReader:
    """A reader on a file system that allows O_DIRECT, or refuses it in either way."""
    real_fcntl, real_preadv = fcntl.fcntl, os.preadv

    def no_flag(descriptor: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_fcntl(descriptor, command, argument)

    def no_read(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        if real_fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_preadv(descriptor, buffers, offset)

    if request.param == "refused at once":
        monkeypatch.setattr(read.fcntl, "fcntl", no_flag)
    elif request.param == "refused at the first read":
        monkeypatch.setattr(read.os, "preadv", no_read)
    return DiskReader()


def test_what_was_cold_stays_cold(tmp_path: Path, reader: DiskReader) -> None:
    place = tmp_path / "file"
    data = os.urandom(8 * MIB + 77)
    place.write_bytes(data)
    forget(place)
    assert read_all(reader, place, 0, len(data)) == data
    assert resident(place) == 0


def test_what_was_hot_stays_hot(tmp_path: Path, reader: DiskReader) -> None:
    place = tmp_path / "file"
    data = os.urandom(8 * MIB + 77)
    place.write_bytes(data)
    forget(place)
    place.read_bytes()
    before = resident(place)
    assert read_all(reader, place, 0, len(data)) == data
    assert resident(place) == before == 2049


def test_a_disk_error_is_the_readers_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"x")

    def broken(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(read.os, "preadv", broken)
    with pytest.raises(OSError, match="Input/output error"):
        read_all(DiskReader(), place, 0, 1)

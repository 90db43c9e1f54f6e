"""Partial files: gathered in place, found again, finished in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from zimage_syncd.digest import FileHasher
from zimage_syncd.disk import network
from zimage_syncd.disk.partial import PartialFile, partial_name
from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.path import RelPath

PATH = RelPath("hub/models--a--b/blobs/x")

_NOBODY = 65534

_SET_DUMPABLE = 4
"""prctl(2)."""


def entry_of(data: bytes) -> FileEntry:
    hasher = FileHasher(len(data))
    hasher.update(data)
    digests = hasher.digests()
    return FileEntry(PATH, len(data), 0o640, digests.sha256, digests.chunks)


def write_chunk(partial: PartialFile, data: bytes, index: int) -> None:
    start = index * CHUNK_BYTES
    partial.write(start, memoryview(data)[start : start + CHUNK_BYTES])


@pytest.fixture
def data(content: random.Random) -> bytes:
    return content.randbytes(2 * CHUNK_BYTES + 12345)


def test_nothing_lies_under_the_final_name_before_the_end(tmp_path: Path, data: bytes) -> None:
    partial = PartialFile(Tree(str(tmp_path)), PATH, len(data))
    write_chunk(partial, data, 0)
    names = os.listdir(tmp_path / "hub/models--a--b/blobs")
    assert names == [partial_name(PATH)]
    partial.close()


def test_a_finished_file_has_content_mode_and_no_partial_beside_it(tmp_path: Path, data: bytes) -> None:
    partial = PartialFile(Tree(str(tmp_path)), PATH, len(data))
    for index in (2, 0, 1):
        write_chunk(partial, data, index)
    assert partial.missing_chunks(entry_of(data), lambda: None) == []
    partial.finish(0o640)
    place = tmp_path / PATH
    assert place.read_bytes() == data
    assert place.stat().st_mode & 0o777 == 0o640
    assert os.listdir(place.parent) == ["x"]


def test_a_partial_is_found_again_and_lacks_only_what_was_not_written(tmp_path: Path, data: bytes) -> None:
    first = PartialFile(Tree(str(tmp_path)), PATH, len(data))
    write_chunk(first, data, 1)
    first.close()
    second = PartialFile(Tree(str(tmp_path)), PATH, len(data))
    assert second.missing_chunks(entry_of(data), lambda: None) == [0, 2]
    second.close()


def test_a_chunk_that_was_written_wrong_does_not_count(tmp_path: Path, data: bytes) -> None:
    partial = PartialFile(Tree(str(tmp_path)), PATH, len(data))
    for index in range(3):
        write_chunk(partial, data, index)
    partial.write(CHUNK_BYTES + 5, memoryview(b"\x00\x01\x02"))
    assert partial.missing_chunks(entry_of(data), lambda: None) == [1]
    partial.close()


def test_a_partial_of_another_size_is_brought_to_size(tmp_path: Path, data: bytes) -> None:
    tree = Tree(str(tmp_path))
    PartialFile(tree, PATH, 10 * CHUNK_BYTES).close()
    partial = PartialFile(tree, PATH, len(data))
    assert os.stat(tmp_path / "hub/models--a--b/blobs" / partial_name(PATH)).st_size == len(data)
    partial.close()


def test_the_space_is_reserved_before_the_first_byte(tmp_path: Path) -> None:
    partial = PartialFile(Tree(str(tmp_path)), PATH, 3 * CHUNK_BYTES)
    status = os.stat(tmp_path / "hub/models--a--b/blobs" / partial_name(PATH))
    assert status.st_blocks * 512 >= 3 * CHUNK_BYTES
    partial.close()


def test_a_clone_takes_over_the_present_content(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    partial = PartialFile(Tree(str(tmp_path)), PATH, len(data))
    with open(source, "rb") as file:
        partial.clone(file.fileno())
    assert partial.missing_chunks(entry_of(data), lambda: None) == []
    partial.close()


def test_an_empty_file_needs_no_chunk(tmp_path: Path) -> None:
    partial = PartialFile(Tree(str(tmp_path)), PATH, 0)
    assert partial.missing_chunks(entry_of(b""), lambda: None) == []
    partial.finish(0o644)
    assert (tmp_path / PATH).read_bytes() == b""


def test_a_directory_that_is_a_symlink_is_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "hub").symlink_to(outside)
    with pytest.raises(UnsafePath):
        PartialFile(Tree(str(cache)), PATH, 10)
    assert os.listdir(outside) == []


def test_a_partial_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    directory = tmp_path / "cache/hub/models--a--b/blobs"
    directory.mkdir(parents=True)
    (directory / partial_name(PATH)).symlink_to(victim)
    with pytest.raises(UnsafePath):
        PartialFile(Tree(str(tmp_path / "cache")), PATH, 3)
    assert victim.read_bytes() == b"precious"


@pytest.fixture
def somebody() -> Iterator[Path]:
    """A directory of an ordinary user, who this process is for a while: root may open everything."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, _NOBODY, -1)
        os.seteuid(_NOBODY)
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 1)  # or /proc/self would belong to root
        try:
            yield Path(directory)
        finally:
            os.seteuid(0)


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o444, 0o040])
def test_a_partial_that_has_the_mode_of_its_file_already_is_gone_on_with(
    somebody: Path, data: bytes, mode: int
) -> None:
    """Whoever was killed in the fsync of the end left it so, and the next run was not permitted to open it."""
    tree = Tree(str(somebody))
    first = PartialFile(tree, PATH, len(data))
    write_chunk(first, data, 1)
    first.close()
    ((somebody / PATH).parent / partial_name(PATH)).chmod(mode)
    second = PartialFile(tree, PATH, len(data))
    assert second.missing_chunks(entry_of(data), lambda: None) == [0, 2]
    write_chunk(second, data, 0)
    write_chunk(second, data, 2)
    second.finish(mode)
    assert (somebody / PATH).stat().st_mode & 0o777 == mode
    (somebody / PATH).chmod(0o600)
    assert (somebody / PATH).read_bytes() == data


@pytest.mark.parametrize(
    ("kind", "is_lent"), [(0xEF53, True), (0x01021994, True), (0x6969, False), (0x65735546, False)]
)
def test_no_other_process_is_lent_a_file_of_which_it_would_take_errors_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, is_lent: bool
) -> None:
    """sshfs tells a failed write to whoever closes the file first; the fsync at the end then finds nothing wrong."""
    monkeypatch.setattr(network, "type_of", lambda _: kind)
    partial = PartialFile(Tree(str(tmp_path)), PATH, CHUNK_BYTES)
    try:
        assert (partial.lend() is not None) is is_lent
    finally:
        partial.close()


def test_a_partial_whose_closing_fails_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be another file's by the second time, which was then closed; or nobody foresaw the error."""
    partial = PartialFile(Tree(str(tmp_path)), PATH, CHUNK_BYTES)
    closed: list[int] = []
    close = os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        closed.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", fail)
    partial.close()
    partial.close()
    assert len(closed) == 1

"""A lease's files on a real directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zimage_syncd.disk.lease_files import LeaseDirectory, Newest, newest_of, older_than
from zimage_syncd.disk.tenant import MAX_BYTES
from zimage_syncd.model.failures import DiskError, UnsafePath


@pytest.fixture
def files(tmp_path: Path) -> LeaseDirectory:
    files = LeaseDirectory(str(tmp_path / ".zimage-syncd/lease"))
    files.make()
    files.make()
    return files


def test_the_highest_number_counts_and_its_highest_beat() -> None:
    assert newest_of([]) is None
    assert newest_of(["lease.2", "lease.10", "lease.10.9", "lease.10.11", "lease.2.done"]) == Newest(10, 11, False)
    assert newest_of(["lease.3.done", "lease.3"]) == Newest(3, 0, True)
    assert newest_of(["lease.4.1"]) == Newest(4, 1, False), "its file comes later in the listing, or not at all"
    assert newest_of(["lease.0"]) is None
    assert older_than(3, ["lease.3", "lease.2.done", "lease.2", "lease.1.77", "other"]) == [
        "lease.2.done",
        "lease.2",
        "lease.1.77",
    ]


def test_a_file_is_created_once(files: LeaseDirectory, tmp_path: Path) -> None:
    assert files.create("lease.1", b"first")
    assert not files.create("lease.1", b"second")
    assert files.read("lease.1") == b"first"
    assert files.names() == ["lease.1"]
    place = tmp_path / ".zimage-syncd/lease/lease.1"
    assert stat.S_IMODE(place.stat().st_mode) == 0o644 & ~_umask()
    files.remove("lease.1")
    files.remove("lease.1")
    assert files.names() == []
    assert files.read("lease.1") is None


def test_a_refresh_leaves_nothing(files: LeaseDirectory) -> None:
    files.refresh()
    assert files.names() == []


def test_a_directory_that_is_not_there_holds_nothing_and_is_not_made(tmp_path: Path) -> None:
    files = LeaseDirectory(str(tmp_path / "unmounted/.zimage-syncd/lease"))
    assert files.names() == []
    assert files.read("lease.1") is None
    with pytest.raises(DiskError):
        files.create("lease.1.5")
    assert list(tmp_path.iterdir()) == []


def test_links_and_large_files_are_neither_followed_nor_read(files: LeaseDirectory, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".zimage-syncd/lease/lease.1").symlink_to(victim)
    (tmp_path / ".zimage-syncd/lease/lease.2").symlink_to(tmp_path / "nothing")
    (tmp_path / ".zimage-syncd/lease/lease.3").write_bytes(b"x" * (MAX_BYTES + 1))
    assert [files.read(f"lease.{number}") for number in (1, 2, 3)] == [None, None, None]
    assert not files.create("lease.1", b"x")
    assert not files.create("lease.2", b"x")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()


def test_a_file_in_the_directorys_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "lease").write_text("")
    files = LeaseDirectory(str(tmp_path / "lease"))
    with pytest.raises(UnsafePath):
        files.names()


def test_a_directory_full_of_names_is_refused(files: LeaseDirectory, tmp_path: Path) -> None:
    for number in range(1_001):
        os.mknod(tmp_path / f".zimage-syncd/lease/lease.{number}")
    with pytest.raises(DiskError, match="more than 1000"):
        files.names()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

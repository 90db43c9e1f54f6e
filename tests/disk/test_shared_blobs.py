"""huggingface_hub's books of shared blobs: appended to, never replaced; checked against the library's own code."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

from zimage_syncd.disk import shared_blobs
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.write import CacheDisk
from zimage_syncd.model.failures import CacheBusy
from zimage_syncd.model.path import RelPath

PAYLOAD = RelPath("hub/blobs/ab/" + "ab" * 32)
LINK = RelPath("hub/models--a--b/blobs/" + "cd" * 32)
TARGET = "../../blobs/ab/" + "ab" * 32


@pytest.fixture
def disk(tmp_path: Path) -> CacheDisk:
    quarantine = Quarantine(str(tmp_path / "q"), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    (tmp_path / "cache").mkdir()
    return CacheDisk(str(tmp_path / "cache"), quarantine)


def write_payload(disk: CacheDisk) -> None:
    partial = disk.begin_file(PAYLOAD, 5)
    partial.write(0, memoryview(b"bytes"))
    disk.finish_file(partial, 0o444, keep_old=False)


def test_payload_link_marker_and_reference_are_as_the_library_makes_them(disk: CacheDisk) -> None:
    write_payload(disk)
    disk.make_link(LINK, TARGET)
    root = Path(disk.root)
    assert (root / "hub/blobs/.huggingface-shared-blobs").read_bytes() == b"1\n"
    assert (root / f"{PAYLOAD}.refs").read_text() == f"{LINK.removeprefix('hub/')}\n"
    assert (root / LINK).read_bytes() == b"bytes"
    assert (root / f"{PAYLOAD}.lock").exists()


def test_references_of_other_repositories_stay(disk: CacheDisk) -> None:
    write_payload(disk)
    refs = Path(disk.root) / f"{PAYLOAD}.refs"
    other = f"models--other--one/blobs/{'ef' * 32}\n"
    refs.write_text(other)
    disk.make_link(LINK, TARGET)
    disk.make_link(LINK, TARGET)
    assert refs.read_text() == other + f"{LINK.removeprefix('hub/')}\n"


def test_a_torn_last_line_is_closed_before_ours_begins(disk: CacheDisk) -> None:
    write_payload(disk)
    refs = Path(disk.root) / f"{PAYLOAD}.refs"
    refs.write_text("models--torn/blo")
    disk.make_link(LINK, TARGET)
    assert refs.read_text().splitlines() == ["models--torn/blo", LINK.removeprefix("hub/")]


def test_a_present_marker_is_not_replaced(disk: CacheDisk) -> None:
    marker = Path(disk.root) / "hub/blobs/.huggingface-shared-blobs"
    marker.parent.mkdir(parents=True)
    marker.write_text("1\n")
    inode = marker.stat().st_ino
    write_payload(disk)
    assert marker.stat().st_ino == inode


def test_a_reference_file_that_is_a_symlink_is_refused_and_the_link_is_not_made(
    disk: CacheDisk, tmp_path: Path
) -> None:
    write_payload(disk)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.symlink(victim, f"{disk.root}/{PAYLOAD}.refs")
    with pytest.raises(Exception, match="symlink"):
        disk.make_link(LINK, TARGET)
    assert victim.read_text() == "precious"
    assert not os.path.lexists(f"{disk.root}/{LINK}")


def test_an_ordinary_link_touches_no_books(disk: CacheDisk) -> None:
    disk.make_link(RelPath("hub/models--a--b/snapshots/c/f"), f"../../blobs/{'cd' * 32}")
    assert not (Path(disk.root) / "hub/blobs").exists()


def test_a_lock_that_the_library_keeps_fails_one_file_only(disk: CacheDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    write_payload(disk)
    monkeypatch.setattr(shared_blobs, "_LOCK_TIMEOUT_S", 0.1)
    with FileLock(f"{disk.root}/{PAYLOAD}.lock"), pytest.raises(CacheBusy, match="held it"):
        disk.make_link(LINK, TARGET)

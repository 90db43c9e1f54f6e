"""The last good manifests on the data disk: written when they change, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.manifests import manifest_with
from zimage_syncd.disk.shelf import DiskShelf
from zimage_syncd.model.manifest import Manifest

BASE = "hub/models--acme--painter"


def manifest(content: bytes) -> Manifest:
    return manifest_with({f"{BASE}/blobs/one": content})


@pytest.fixture
def shelf(tmp_path: Path) -> DiskShelf:
    return DiskShelf(str(tmp_path / "manifests"))


def file_of(shelf: DiskShelf) -> Path:
    (place,) = (place for place in Path(shelf.directory).rglob("*") if place.is_file())
    return place


def test_what_is_kept_already_is_not_written_again_and_counts_as_kept_now(shelf: DiskShelf) -> None:
    shelf.save(manifest(b"one"))
    before = file_of(shelf).stat()
    os.utime(file_of(shelf), (1000, 1000))

    shelf.save(manifest(b"one"))

    assert file_of(shelf).stat().st_ino == before.st_ino
    kept_at = shelf.kept_at(manifest(b"one").key)
    assert kept_at is not None
    assert kept_at.timestamp() > 1000


@pytest.mark.parametrize("change", ["another", "shorter", "flipped", "a link"])
def test_whatever_else_lies_there_is_replaced(shelf: DiskShelf, change: str) -> None:
    wanted = manifest(b"one")
    shelf.save(manifest(b"two") if change == "another" else wanted)
    place = file_of(shelf)
    if change == "shorter":
        place.write_bytes(place.read_bytes()[:-1])
    elif change == "flipped":
        place.write_bytes(place.read_bytes().replace(b"proved", b"proven"))
    elif change == "a link":
        place.rename(place.with_name("aside"))
        place.symlink_to("aside")

    shelf.save(wanted)

    assert not place.is_symlink()
    assert place.read_bytes() == wanted.to_bytes()
    assert shelf.load(wanted.key) == wanted

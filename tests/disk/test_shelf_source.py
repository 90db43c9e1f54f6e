"""The data disk's manifests as a source of snapshots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.manifests import key_of, manifest_with
from zimage_syncd.disk.shelf import DiskShelf
from zimage_syncd.disk.shelf_source import ShelfSource
from zimage_syncd.model.failures import BlobMissing, NotInStore
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.snapshot import LayoutName

BASE = "hub/models--acme--painter"
OLD, NEW = "a" * 40, "b" * 40


def hf_manifest(commit: str, *refs: str) -> Manifest:
    pointers = {f"{BASE}/refs/{name}": commit for name in refs}
    return manifest_with({f"{BASE}/snapshots/{commit}/x": commit.encode()}, key_of(revision=commit), {}, pointers)


def keep(shelf: DiskShelf, manifest: Manifest, kept_at_s: int) -> Manifest:
    shelf.save(manifest)
    place = next(place for place in Path(shelf.directory).rglob(f"{manifest.key.revision}.json"))
    os.utime(place, (kept_at_s, kept_at_s))
    return manifest


@pytest.fixture
def shelf(tmp_path: Path) -> DiskShelf:
    return DiskShelf(str(tmp_path / "manifests"))


def test_of_two_manifests_that_claim_a_name_the_one_kept_last_has_it(shelf: DiskShelf) -> None:
    new = keep(shelf, hf_manifest(NEW, "main"), 2000)
    old = keep(shelf, hf_manifest(OLD, "main", "refs/pr/1"), 1000)
    source = ShelfSource(shelf, "host")
    assert [(item.name, item.manifest_id) for item in source.snapshots()] == [("main", new.id), ("refs/pr/1", old.id)]
    history = source.history(LayoutName.HUGGINGFACE, new.key.repo, "main")
    assert [item.manifest_id for item in history] == [new.id, old.id]
    assert source.manifest_of(history[1], lambda count: None) == old


def test_a_snapshot_without_references_is_called_by_its_revision(shelf: DiskShelf) -> None:
    keep(shelf, hf_manifest(OLD), 1000)
    layout = LayoutName.MODELSCOPE
    keep(shelf, manifest_with({"models/acme--painter/snapshots/v1/x": b""}, key_of(revision="v1", layout=layout)), 1000)
    assert {item.name for item in ShelfSource(shelf, "host").snapshots()} == {OLD, "v1"}


def test_what_cannot_be_trusted_is_not_listed(shelf: DiskShelf) -> None:
    keep(shelf, hf_manifest(OLD, "main"), 1000)
    next(Path(shelf.directory).rglob("*.json")).write_text("{}")
    assert ShelfSource(shelf, "host").snapshots() == []


def test_it_has_no_bytes_and_nothing_that_it_did_not_list(shelf: DiskShelf) -> None:
    source = ShelfSource(shelf, "host")
    file = hf_manifest(OLD).files[0]
    with pytest.raises(BlobMissing, match="manifests only"):
        source.read(file, 0, 1, memoryview(bytearray(1)))
    with pytest.raises(NotInStore):
        source.manifest("0" * 64)
    assert source.local_path(file) is None
    assert source.modes() == frozenset()


def test_a_data_disk_without_records_has_none(tmp_path: Path) -> None:
    assert ShelfSource(DiskShelf(str(tmp_path / "nowhere")), "host").snapshots() == []

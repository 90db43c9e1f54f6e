"""Hubs as the last sources of a restore and a repair: asked for the chunks that nobody else has, and for no more."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench, BytesSource
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.disk.shelf_source import ShelfSource
from zimage_syncd.model.failures import NotInStore, SnapshotMissing
from zimage_syncd.model.manifest import CHUNK_BYTES, Manifest
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey
from zimage_syncd.ports import ChunkSource, StoredSnapshot
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.work.backup import backup
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource
from zimage_syncd.work.verify import verify

ALL = Selection()
BIG = "big/model.safetensors"


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class MemoryHub:
    """A `ports.Hub` with files in memory; keeps which snapshots it was asked about."""

    def __init__(self, name: str, layout: LayoutName, files: dict[str, bytes]) -> None:
        self.name = name
        self.layout = layout
        self.source = BytesSource(name, {sha256_hex(data): data for data in files.values()})
        self.asked: list[SnapshotKey] = []

    def serves(self, key: SnapshotKey) -> bool:
        return key.layout is self.layout

    def for_manifest(self, manifest: Manifest) -> ChunkSource:
        self.asked.append(manifest.key)
        return self.source


class SilentRecords(ShelfSource):
    """Records that nobody may ask."""

    def snapshots(self) -> list[StoredSnapshot]:
        raise AssertionError("asked")


@pytest.fixture
def files(content: random.Random) -> dict[str, bytes]:
    return {**pipeline_files(), BIG: safetensors_bytes({"x": content.randbytes(2 * CHUNK_BYTES + 4096)})}


@pytest.fixture
def hub(files: dict[str, bytes]) -> MemoryHub:
    return MemoryHub("huggingface", LayoutName.HUGGINGFACE, files)


@pytest.fixture
def resort(bench: Bench, hub: MemoryHub) -> LastResort:
    return LastResort((hub,), ShelfSource(bench.shelf, "test-host"))


@pytest.fixture
def before(bench: Bench, archive: ObjectArchive, files: dict[str, bytes]) -> dict[str, tuple[object, ...]]:
    """What the cache held, backed up and then wiped."""
    hf_snapshot(bench.root, files)
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    before = listing(bench.root)
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    return before


def blob(bench: Bench, data: bytes) -> Path:
    return next((bench.directory / "bucket/blobs").rglob(sha256_hex(data)))


def flip(place: Path, offset: int) -> None:
    os.chmod(place, 0o600)
    with place.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ 1]))


def stores(archive: ObjectArchive) -> list[RestoreSource]:
    return [RestoreSource(archive, LinkMode.AUTO)]


def used(report: Report) -> dict[str, int]:
    return {use.source: use.read_bytes for result in report.snapshots for use in result.sources}


def test_only_the_chunk_that_the_store_damaged_comes_from_the_hub(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], hub: MemoryHub, resort: LastResort, before: object
) -> None:
    flip(blob(bench, files[BIG]), CHUNK_BYTES + 5)
    report = restore(bench.site(), stores(archive), ALL, resort)
    assert listing(bench.root) == before
    assert [(offset, length) for _, offset, length in hub.source.reads] == [(CHUNK_BYTES, CHUNK_BYTES)]
    assert used(report)["huggingface"] == CHUNK_BYTES


def test_only_the_chunk_that_the_disk_damaged_comes_from_the_hub_in_a_repair(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], hub: MemoryHub, resort: LastResort, before: object
) -> None:
    restore(bench.site(), stores(archive), ALL)
    blob(bench, files[BIG]).unlink()
    flip((bench.root / "hub/models--org--name/blobs" / sha256_hex(files[BIG])), 5)
    report = verify(bench.site(), [archive], ALL, deep=True, repair=True, last_resort=resort)
    assert listing(bench.root) == before
    assert used(report) == {"huggingface": CHUNK_BYTES}


def test_a_store_that_has_everything_leaves_hub_and_records_alone(
    bench: Bench, archive: ObjectArchive, hub: MemoryHub, before: object
) -> None:
    resort = LastResort((hub,), SilentRecords(bench.shelf, "test-host"))
    assert restore(bench.site(), stores(archive), ALL, resort).exit_code == 0
    assert restore(bench.site(), stores(archive), Selection(RepoId.parse("org/name")), resort).exit_code == 0
    assert hub.source.reads == []


def test_a_hub_is_never_asked_for_another_library_s_snapshot(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], hub: MemoryHub, resort: LastResort
) -> None:
    modelscope_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    shutil.rmtree(bench.root / "models")
    blob(bench, files[BIG]).unlink()
    report = restore(bench.site(), stores(archive), ALL, resort)
    assert [result.action for result in report.snapshots] == ["failed"]
    assert (hub.asked, hub.source.reads) == ([], [])


def test_a_manifest_that_no_store_can_give_comes_from_the_records(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], hub: MemoryHub, resort: LastResort, before: object
) -> None:
    for place in (bench.directory / "bucket/manifests").rglob("*.json"):
        os.chmod(place, 0o600)
        place.write_text("{}")
    blob(bench, files[BIG]).unlink()
    report = restore(bench.site(), stores(archive), ALL, resort)
    assert listing(bench.root) == before
    assert used(report)["huggingface"] == len(files[BIG])
    # The rest still comes from the store, which has the blobs; and what is wrong with it is said.
    assert used(report)["bucket"] > 0
    assert [finding.problem.code for finding in report.findings] == ["ZS302"]


def test_without_hubs_the_records_are_no_reason_to_plan_anything(
    bench: Bench, archive: ObjectArchive, before: object
) -> None:
    shutil.rmtree(bench.directory / "bucket/refs")
    with pytest.raises(NotInStore, match=r"asked bucket$"):
        restore(bench.site(), stores(archive), ALL)
    assert listing(bench.root) == {}


def test_nothing_known_anywhere_is_said_with_what_to_do(bench: Bench, resort: LastResort) -> None:
    wanted = Selection(RepoId(RepoType.MODEL, "no/such"))
    with pytest.raises(SnapshotMissing, match="download it with its library"):
        restore(bench.site(), [], wanted, resort)

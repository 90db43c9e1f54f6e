"""What lies on the disk already is not fetched, and is believed no more than a store."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import LayoutName
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource
from zimage_syncd.work.verify import verify

ALL = Selection()
MODELSCOPE = Selection(layout=LayoutName.MODELSCOPE)
BIG = "big/model.safetensors"


class CountedStore(DirectoryStore):
    """Counts what is read of blobs."""

    blob_bytes = 0

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        for piece in super().read(key, offset, length, buffer):
            self.blob_bytes += len(piece)
            yield piece

    def local_path(self, key: str) -> str | None:
        """As if on another machine: reflinks would hide what is read."""
        return None


@pytest.fixture
def store(bench: Bench) -> CountedStore:
    place = bench.directory / "bucket"
    place.mkdir()
    return CountedStore(str(place), "owner-1")


@pytest.fixture
def archive(bench: Bench, store: CountedStore) -> ObjectArchive:
    return ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")


@pytest.fixture
def whole(bench: Bench, archive: ObjectArchive, content: random.Random) -> dict[str, tuple[object, ...]]:
    """Both layouts' snapshots of the same files, backed up; what the cache holds."""
    files = {**pipeline_files(), BIG: safetensors_bytes({"x": content.randbytes(2 * CHUNK_BYTES + 999)})}
    hf_snapshot(bench.root, files)
    modelscope_snapshot(bench.root, files)
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    return listing(bench.root)


@pytest.fixture
def twin(bench: Bench, whole: dict[str, tuple[object, ...]]) -> Path:
    """The large file in the other layout."""
    return next((bench.root / "hub").glob(f"*/snapshots/*/{BIG}")).resolve()


def lose_modelscope(bench: Bench) -> None:
    shutil.rmtree(bench.root / "models")


def sources(report: Report) -> dict[str, int]:
    return {use.source: use.read_bytes for result in report.snapshots for use in result.sources}


def bring_back(bench: Bench, archive: ObjectArchive) -> Report:
    return restore(bench.site(), [RestoreSource(archive, LinkMode.COPY)], MODELSCOPE)


def test_equal_chunks_of_another_layout_are_copied_and_not_downloaded(
    bench: Bench, archive: ObjectArchive, store: CountedStore, whole: dict[str, tuple[object, ...]]
) -> None:
    lose_modelscope(bench)
    report = bring_back(bench, archive)
    assert report.exit_code == 0
    assert listing(bench.root) == whole
    assert store.blob_bytes == 0
    assert sources(report) == {"this disk": report.snapshots[0].total_bytes}


@pytest.mark.parametrize("place", [5, CHUNK_BYTES, 2 * CHUNK_BYTES + 500])
def test_a_damaged_twin_is_silently_replaced_by_the_stores_bytes(
    bench: Bench,
    archive: ObjectArchive,
    store: CountedStore,
    whole: dict[str, tuple[object, ...]],
    twin: Path,
    place: int,
) -> None:
    lose_modelscope(bench)
    with open(twin, "r+b") as file:
        file.seek(place)
        bad = bytes([file.read(1)[0] ^ 4])
        file.seek(place)
        file.write(bad)
    report = bring_back(bench, archive)
    assert report.exit_code == 0
    assert report.findings == ()
    for path, entry in listing(bench.root).items():
        assert entry == whole[path] or path == str(twin.relative_to(bench.root))
    assert 0 < store.blob_bytes <= CHUNK_BYTES


def test_a_twin_that_vanishes_or_shrinks_half_way_costs_a_download_only(
    bench: Bench, archive: ObjectArchive, store: CountedStore, whole: dict[str, tuple[object, ...]], twin: Path
) -> None:
    lose_modelscope(bench)
    plain = bench.disk.open_read
    opened = 0

    def open_read(path: object) -> int:
        nonlocal opened
        if str(path).endswith(twin.name):
            opened += 1
            if opened == 2:
                with open(twin, "r+b") as file:
                    file.truncate(CHUNK_BYTES + 7)
            if opened == 3:
                twin.unlink()
        return plain(path)  # type: ignore[arg-type]

    bench.disk.open_read = open_read  # type: ignore[method-assign, assignment]
    report = bring_back(bench, archive)
    assert report.exit_code == 0
    assert listing(bench.root / "models") == {
        path.removeprefix("models/"): entry for path, entry in whole.items() if path.startswith("models/")
    }
    assert 0 < store.blob_bytes <= 2 * CHUNK_BYTES


def test_a_snapshot_that_cannot_be_looked_at_stops_nobody(
    bench: Bench, archive: ObjectArchive, whole: dict[str, tuple[object, ...]]
) -> None:
    """A directory of another snapshot that is a symlink ended the restore."""
    lose_modelscope(bench)
    (bench.root / "hub").rename(bench.directory / "hub")
    (bench.root / "hub").symlink_to(bench.directory / "hub")
    report = bring_back(bench, archive)
    assert report.exit_code == 0
    assert set(sources(report)) == {"bucket"}


def test_the_same_bytes_twice_in_one_snapshot_come_from_the_one_that_is_there(
    bench: Bench, archive: ObjectArchive, store: CountedStore, content: random.Random
) -> None:
    data = content.randbytes(CHUNK_BYTES + 99)
    place = modelscope_snapshot(bench.root, {**pipeline_files(), "one.bin": data, "two.bin": data})
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    (place / "two.bin").unlink()
    shutil.rmtree(bench.state / "manifests")
    report = bring_back(bench, archive)
    assert report.exit_code == 0
    assert (place / "two.bin").read_bytes() == data
    assert store.blob_bytes == 0


def test_the_same_bytes_twice_in_one_snapshot_are_downloaded_once(
    bench: Bench, archive: ObjectArchive, store: CountedStore, content: random.Random
) -> None:
    big, small = content.randbytes(2 * CHUNK_BYTES + 99), content.randbytes(500)
    files = {"one.bin": big, "two.bin": big, "one.txt": small, "two.txt": small, "three.txt": small}
    place = modelscope_snapshot(bench.root, {**pipeline_files(), **files})
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    before = listing(bench.root)
    unique = sum(blob.stat().st_size for blob in (bench.directory / "bucket/blobs").rglob("*") if blob.is_file())
    lose_modelscope(bench)
    shutil.rmtree(bench.state / "manifests")
    report = bring_back(bench, archive)
    assert report.exit_code == 0
    assert listing(bench.root) == before
    assert (place / "two.bin").read_bytes() == big
    assert store.blob_bytes == unique
    # The pipeline's own files repeat, too.
    assert sources(report) == {"bucket": unique, "this disk": report.snapshots[0].total_bytes - unique}
    assert report.snapshots[0].total_bytes - unique >= len(big) + 2 * len(small)
    assert bench.partials() == []


def test_chunks_that_repeat_within_and_between_files_of_other_content_are_downloaded_once(
    bench: Bench, archive: ObjectArchive, store: CountedStore, content: random.Random
) -> None:
    chunk, other = content.randbytes(CHUNK_BYTES), content.randbytes(CHUNK_BYTES)
    # Each file waits for a chunk of the other one while neither has its final name.
    files = {"one.bin": chunk + other + chunk + b"1", "two.bin": other + chunk + other + b"2"}
    modelscope_snapshot(bench.root, {**pipeline_files(), **files})
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    before = listing(bench.root)
    rest = sum(
        blob.stat().st_size
        for blob in (bench.directory / "bucket/blobs").rglob("*")
        if blob.is_file() and blob.stat().st_size < CHUNK_BYTES
    )
    lose_modelscope(bench)
    shutil.rmtree(bench.state / "manifests")
    assert bring_back(bench, archive).exit_code == 0
    assert listing(bench.root) == before
    assert store.blob_bytes == rest + 2 * CHUNK_BYTES + 2


@pytest.mark.parametrize("act", ["repair", "restore"])
def test_chunks_that_repeat_in_files_under_repair_are_downloaded_once(
    bench: Bench, archive: ObjectArchive, store: CountedStore, content: random.Random, act: str
) -> None:
    """They were looked for in the old files, where they are damaged, not in the partials, where they had arrived."""
    chunk, other = content.randbytes(CHUNK_BYTES), content.randbytes(CHUNK_BYTES)
    # Each file waits for a chunk of the other one while both have their old content.
    files = {"one.bin": chunk + other + chunk + b"1", "two.bin": other + chunk + other + b"2"}
    place = modelscope_snapshot(bench.root, {**pipeline_files(), **files})
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    before = listing(bench.root)
    for name in files:
        with (place / name).open("r+b") as file:
            for index in range(3):
                file.seek(index * CHUNK_BYTES + 5)
                file.write(b"damaged")
    if act == "repair":
        report = verify(bench.site(), [archive], ALL, deep=True, repair=True)
    else:
        report = bring_back(bench, archive)
    assert listing(bench.root) == before
    assert store.blob_bytes == 2 * CHUNK_BYTES
    assert sources(report) == {"bucket": 2 * CHUNK_BYTES, "this disk": 4 * CHUNK_BYTES}


@pytest.mark.parametrize("act", ["repair", "restore"])
def test_a_repair_that_was_killed_takes_from_the_store_only_what_is_damaged(
    bench: Bench, archive: ObjectArchive, store: CountedStore, content: random.Random, act: str
) -> None:
    """Its partial was gone on with, and all that had not been copied into it came from the store."""
    path = RelPath("models/org--name/snapshots/master/one.bin")
    modelscope_snapshot(bench.root, {**pipeline_files(), "one.bin": content.randbytes(3 * CHUNK_BYTES)})
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    before = listing(bench.root)
    with (bench.root / path).open("r+b") as file:
        file.write(b"damaged")
    bench.disk.begin_file(path, 3 * CHUNK_BYTES).close()
    if act == "repair":
        report = verify(bench.site(), [archive], ALL, deep=True, repair=True)
    else:
        report = bring_back(bench, archive)
    assert listing(bench.root) == before
    assert store.blob_bytes == CHUNK_BYTES
    assert sources(report) == {"bucket": CHUNK_BYTES, "this disk": 2 * CHUNK_BYTES}


def test_what_an_earlier_snapshot_of_the_run_brought_is_at_hand_although_another_file_of_it_failed(
    bench: Bench, archive: ObjectArchive, store: CountedStore, whole: dict[str, tuple[object, ...]], twin: Path
) -> None:
    own = bench.root / "models/org--name/snapshots/master/own.bin"
    own.write_bytes(b"only in this layout")
    assert backup(bench.site(), [archive], ALL, accept_changed=True).exit_code == 0
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    shutil.rmtree(bench.state / "manifests")
    size = twin_bytes = 0
    for blob in (bench.directory / "bucket/blobs").rglob("*"):
        if blob.is_file():
            size, twin_bytes = size + blob.stat().st_size, max(twin_bytes, blob.stat().st_size)
            if blob.read_bytes() in (b"only in this layout", pipeline_files()["model_index.json"]):
                size -= blob.stat().st_size
                blob.unlink()
    report = restore(bench.site(), [RestoreSource(archive, LinkMode.COPY)], ALL)
    assert report.exit_code == 2
    assert [result.action for result in report.snapshots] == ["failed", "failed"]
    assert store.blob_bytes == size
    assert sources(report)["this disk"] >= twin_bytes

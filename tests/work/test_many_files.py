"""Snapshots of very many files take other ways through memory, and come to the same: here a few count as very many."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.digest import FileDigests
from zimage_syncd.model import manifest as manifest_module
from zimage_syncd.model import packed_local, problems
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.packed import Packed
from zimage_syncd.model.packed_entries import Entries
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores import archive_blobs, archive_manifests
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work import apply as apply_module
from zimage_syncd.work.backup import backup
from zimage_syncd.work.found_digests import FoundDigests
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource
from zimage_syncd.work.verify import verify

ALL = Selection()
REPEATED = b"the same in many files" * 9


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "_FEW", 1)
    monkeypatch.setattr(packed_local, "_FEW", 1)
    monkeypatch.setattr(archive_blobs, "_LISTED_FROM", 1)
    monkeypatch.setattr(archive_manifests, "_SMALL_BYTES", 1)
    monkeypatch.setattr(apply_module, "_A_PORTION", 3)


class CountedStore(DirectoryStore):
    """Counts what is read of blobs."""

    blob_bytes = 0

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        for piece in super().read(key, offset, length, buffer):
            self.blob_bytes += len(piece) * key.startswith("blobs/")
            yield piece

    def local_path(self, key: str) -> str | None:
        """As if on another machine: reflinks would hide what is read."""
        return None


class Many:
    """Both layouts' snapshots of the same files, backed up."""

    def __init__(self, bench: Bench, content: random.Random) -> None:
        self.bench = bench
        self.files = {
            **pipeline_files(),
            "big/model.safetensors": safetensors_bytes({"x": content.randbytes(2 * CHUNK_BYTES + 999)}),
            **{f"data/{number // 10}/{number:03}.txt": b"%d" % number for number in range(40)},
            **{f"same/{number}.txt": REPEATED for number in range(7)},
            "a-b.txt": b"sorts before a/",
            "a/b.txt": b"sorts after a-",
        }
        hf_snapshot(bench.root, self.files)
        modelscope_snapshot(bench.root, self.files)
        place = bench.directory / "bucket"
        place.mkdir()
        self.store = CountedStore(str(place), "owner-1")
        self.archive = ObjectArchive("bucket", self.store, bench.clock, "owner-1", bench.site().owns, "test-host")
        self.report = backup(bench.site(), [self.archive], ALL, accept_changed=False)
        self.whole = listing(bench.root)

    @property
    def sources(self) -> list[RestoreSource]:
        return [RestoreSource(self.archive, LinkMode.AUTO)]

    def file(self, name: str) -> Path:
        return next((self.bench.root / "hub").glob(f"*/snapshots/*/{name}")).resolve()


@pytest.fixture
def many(bench: Bench, content: random.Random) -> Many:
    return Many(bench, content)


def test_the_ways_of_very_many_files_are_gone(many: Many) -> None:
    for snapshot in many.bench.site().find():
        assert isinstance(snapshot.files, Packed)
        manifest = many.bench.shelf.load(snapshot.key)
        assert manifest is not None
        assert isinstance(manifest.entries, Entries)
        assert snapshot.size_bytes == manifest.size_bytes == sum(file.size_bytes for file in snapshot.files)


def test_they_are_backed_up_once_and_then_unchanged(many: Many) -> None:
    assert [result.action for result in many.report.snapshots] == ["backed up", "backed up"]
    contents = list(many.files.values())  # of which Hugging Face's cache has equal ones once
    read = [sum(map(len, set(contents))), sum(map(len, contents))]
    assert [result.checked_bytes for result in many.report.snapshots] == read
    again = backup(many.bench.site(), [many.archive], ALL, accept_changed=False)
    assert [result.action for result in again.snapshots] == ["unchanged", "unchanged"]


def test_a_blob_that_is_gone_is_noticed_and_sent_again(many: Many) -> None:
    blob = next(place for place in (many.bench.directory / "bucket" / "blobs").rglob("*") if place.is_file())
    data = blob.read_bytes()
    blob.unlink()
    again = backup(many.bench.site(), [many.archive], ALL, accept_changed=False)
    assert "backed up" in [result.action for result in again.snapshots]
    assert blob.read_bytes() == data


def test_they_come_back_whole_and_equal_content_over_the_network_once(many: Many) -> None:
    shutil.rmtree(many.bench.root)
    many.bench.root.mkdir()
    many.store.blob_bytes = 0
    report = restore(many.bench.site(), many.sources, ALL)
    assert report.exit_code == 0
    assert listing(many.bench.root) == many.whole
    assert many.store.blob_bytes == sum(map(len, set(many.files.values())))
    assert many.bench.partials() == []
    again = restore(many.bench.site(), many.sources, ALL)
    assert [result.action for result in again.snapshots] == ["unchanged", "unchanged"]


def test_one_that_no_store_has_stops_no_other_one(many: Many) -> None:
    lost = many.file("data/1/015.txt")
    digest = next(
        file.sha256
        for key in many.bench.shelf.keys()  # noqa: SIM118 - a method of its own, no dictionary's
        if (manifest := many.bench.shelf.load(key)) is not None
        for file in manifest.files
        if file.path.endswith("data/1/015.txt")
    )
    (many.bench.directory / "bucket" / "blobs" / digest[:2] / digest).unlink()
    shutil.rmtree(many.bench.root)
    many.bench.root.mkdir()
    report = restore(many.bench.site(), many.sources, ALL)
    assert [result.action for result in report.snapshots] == ["failed", "failed"]
    assert not lost.exists()
    assert many.file("data/1/014.txt").read_bytes() == b"14"
    assert many.file("data/1/016.txt").read_bytes() == b"16"


def test_damage_is_named_and_mended(many: Many) -> None:
    damaged, gone = many.file("data/2/020.txt"), many.file("data/3/033.txt")
    damaged.write_bytes(b"99")
    gone.unlink()
    site = many.bench.site()
    found = verify(site, [many.archive], ALL, deep=True, repair=False)
    assert {finding.problem for finding in found.findings if finding.counts} >= {
        problems.FILE_DAMAGED,
        problems.FILE_MISSING,
    }
    assert sum(finding.subject.startswith("hub/") for finding in found.findings) == 2
    mended = verify(site, [many.archive], ALL, deep=True, repair=True)
    assert all(finding.mended for finding in mended.findings)
    assert listing(many.bench.root) == many.whole
    assert verify(site, [many.archive], ALL, deep=True, repair=False).exit_code == 0


def test_digests_are_kept_by_the_number_of_their_file() -> None:
    digests = [FileDigests(count, f"{count:064x}", "", tuple(f"{n:064x}" for n in range(count))) for count in range(4)]
    found = FoundDigests(5)
    for number, item in reversed(list(enumerate(digests))):
        found.put(number, item)
    assert [found.get(number) for number in range(4)] == digests
    with pytest.raises(KeyError):
        found.get(4)

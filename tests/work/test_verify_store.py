"""A check of an archive reads, and a repair sends, every blob once; and only what is known to be wrong."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model import problems
from zimage_syncd.model.failures import StoreUnreachable
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.stores.directory_upload import DirectoryUpload
from zimage_syncd.work.backup import backup
from zimage_syncd.work.verify_store import verify_store


class CountedStore(DirectoryStore):
    """Counts bytes of large uploads and of reading, and can be busy."""

    sent_bytes = read_bytes = 0
    busy = False

    def begin_upload(self, key: str, size_bytes: int) -> DirectoryUpload:
        self.sent_bytes += size_bytes
        return super().begin_upload(key, size_bytes)

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        if self.busy:
            raise StoreUnreachable("bucket", "busy")
        for piece in super().read(key, offset, length, buffer):
            self.read_bytes += len(piece)
            yield piece


@pytest.fixture
def big(content: random.Random) -> bytes:
    return safetensors_bytes({"x": content.randbytes(CHUNK_BYTES + 999)})


@pytest.fixture
def store(bench: Bench, big: bytes) -> CountedStore:
    """With both layouts' snapshots of the same files."""
    place = bench.directory / "bucket"
    place.mkdir()
    store = CountedStore(str(place), "owner-1")
    for lay in hf_snapshot, modelscope_snapshot:
        lay(bench.root, {**pipeline_files(), "big/model.safetensors": big})
    assert backup(bench.site(), [archive_of(bench, store)], Selection(), accept_changed=False).exit_code == 0
    store.sent_bytes = 0
    return store


def archive_of(bench: Bench, store: CountedStore) -> ObjectArchive:
    return ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")


def blob(bench: Bench, data: bytes) -> Path:
    return next((bench.directory / "bucket").rglob(hashlib.sha256(data).hexdigest()))


def check(bench: Bench, store: CountedStore, *, deep: bool) -> Report:
    archive = archive_of(bench, store)
    sizes = {blob.sha256: blob.size_bytes for blob in archive.blobs()}
    return verify_store(bench.site(), archive, Selection(), blob_sizes=sizes, deep=deep, mend=archive)


def test_a_large_blob_of_two_layouts_is_read_once(bench: Bench, store: CountedStore, big: bytes) -> None:
    report = check(bench, store, deep=True)
    assert report.exit_code == 0
    assert len(big) < store.read_bytes < 1.5 * len(big)
    assert sum(result.checked_bytes for result in report.snapshots) == store.read_bytes


@pytest.mark.parametrize("deep", [True, False])
def test_a_missing_blob_of_two_layouts_is_told_and_sent_once(
    bench: Bench, store: CountedStore, big: bytes, deep: bool
) -> None:
    blob(bench, big).unlink()
    report = check(bench, store, deep=deep)
    assert [(finding.problem, finding.mended) for finding in report.findings] == [(problems.BLOB_MISSING, True)]
    assert store.sent_bytes == len(big)
    assert blob(bench, big).read_bytes() == big


def test_what_cannot_be_read_just_now_is_not_sent_again(bench: Bench, store: CountedStore) -> None:
    """It was called mended, too."""
    store.busy = True
    report = check(bench, store, deep=True)
    assert {(finding.problem, finding.mended) for finding in report.findings} == {(problems.STORE_UNREACHABLE, False)}
    assert store.sent_bytes == 0

"""An upload that was broken off is gone on with: what the store has is not sent again, and is never taken on trust."""

from __future__ import annotations

import hashlib
import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import COMMIT, hf_snapshot
from tests.support.faulty_proxy import Answer, FaultyProxy, faulty_proxy
from tests.support.s3_server import S3Server
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Stopped, StoreUnreachable
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.s3 import S3Store
from zimage_syncd.work.backup import backup

PARTS = 5
HALF = 2 * CHUNK_BYTES + 10**6
"""Bytes sent: two parts and the beginning of the third."""


@dataclass
class StopWhen:
    """A `ports.Cancel` that asks to stop once something is so."""

    reached: Callable[[], bool]

    def check(self) -> None:
        if self.reached():
            raise Stopped("test")


@dataclass
class Work:
    """A cache with one large file, and a bucket behind a proxy."""

    bench: Bench
    server: S3Server
    bucket: str
    proxy: FaultyProxy

    def archive(self) -> ObjectArchive:
        settings = self.server.settings(self.bucket, "p", endpoint_url=self.proxy.url, max_attempts=1)
        store = S3Store(settings, sleep=lambda _seconds: None)
        return ObjectArchive("bucket", store, self.bench.clock, "owner-1", self.bench.site().owns, "test-host")

    def backup(self, selection: Selection | None = None) -> Report:
        self.proxy.sent_bytes = 0
        self.proxy.seen.clear()
        return backup(self.bench.site(), [self.archive()], selection or Selection(), accept_changed=False)

    def break_off(self) -> None:
        """A backup that was asked to stop while it sent the third part."""
        going = self.bench.cancel
        self.bench.cancel = StopWhen(lambda: self.proxy.sent_bytes > HALF)  # type: ignore[assignment]
        with pytest.raises(Stopped):
            self.backup()
        self.bench.cancel = going
        (upload,) = self.open_uploads()
        sent = {part["PartNumber"] for part in self.parts(upload)}
        assert {1, 2} <= sent < set(range(1, PARTS + 1))

    def sent_parts(self) -> set[int]:
        """Numbers of the parts that the last backup sent."""
        found = (re.search(r"partNumber=(\d+)", path) for method, path, _ in self.proxy.seen if method == "PUT")
        return {int(match[1]) for match in found if match}

    def open_uploads(self) -> list[dict[str, Any]]:
        return self.server.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])  # type: ignore[no-any-return]

    def parts(self, upload: dict[str, Any]) -> list[dict[str, Any]]:
        names = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        return self.server.client().list_parts(**names).get("Parts", [])  # type: ignore[no-any-return]

    def blob(self, data: bytes) -> bytes | None:
        """What the bucket has under a content's name."""
        name = hashlib.sha256(data).hexdigest()
        info = self.server.client().list_objects_v2(Bucket=self.bucket, Prefix="p/blobs/")
        keys = [item["Key"] for item in info.get("Contents", []) if item["Key"].endswith(name)]
        return self.server.client().get_object(Bucket=self.bucket, Key=keys[0])["Body"].read() if keys else None


@pytest.fixture
def large(content: random.Random) -> bytes:
    return safetensors_bytes({"x": content.randbytes((PARTS - 1) * CHUNK_BYTES + 4096)})


@pytest.fixture
def work(bench: Bench, seaweed: S3Server, large: bytes) -> Iterator[Work]:
    hf_snapshot(bench.root, {**pipeline_files(), "big/model.safetensors": large})
    with faulty_proxy(seaweed.endpoint_url) as proxy:
        yield Work(bench, seaweed, seaweed.make_bucket(), proxy)


def place_of(bench: Bench) -> Path:
    return (bench.root / f"hub/models--org--name/snapshots/{COMMIT}/big/model.safetensors").resolve()


def test_what_the_store_has_is_not_sent_again(work: Work, large: bytes) -> None:
    work.break_off()
    report = work.backup()
    assert report.exit_code == 0
    assert "there from an upload that was broken off" in report.snapshots[0].detail
    assert work.proxy.sent_bytes < (PARTS - 2) * CHUNK_BYTES + 10**6
    assert report.snapshots[0].written_bytes < report.snapshots[0].total_bytes - CHUNK_BYTES
    assert report.snapshots[0].checked_bytes == report.snapshots[0].total_bytes
    assert work.blob(large) == large
    assert work.open_uploads() == []


def test_a_store_that_went_away_is_gone_on_with(work: Work, large: bytes) -> None:
    work.proxy.faults += [
        (lambda method, path: method == "PUT" and "partNumber=3" in path, Answer(503, "SlowDown")) for _ in range(9)
    ]
    report = work.backup()
    assert [finding.problem for finding in report.findings] == [StoreUnreachable("").problem]
    assert len(work.open_uploads()) == 1
    work.proxy.faults.clear()
    assert work.backup().exit_code == 0
    assert work.proxy.sent_bytes < (PARTS - 2) * CHUNK_BYTES + 10**6
    assert work.blob(large) == large
    assert work.open_uploads() == []


def test_a_part_that_somebody_replaced_is_sent_again(work: Work, large: bytes) -> None:
    work.break_off()
    (upload,) = work.open_uploads()
    work.server.client().upload_part(
        Bucket=work.bucket, Key=upload["Key"], UploadId=upload["UploadId"], PartNumber=1, Body=bytes(CHUNK_BYTES)
    )
    assert work.backup().exit_code == 0
    assert 1 in work.sent_parts()
    assert 2 not in work.sent_parts()
    assert work.blob(large) == large
    assert work.open_uploads() == []


def test_a_part_whose_bytes_were_others_is_sent_again(work: Work, large: bytes) -> None:
    """As where the file was damaged while it was sent, and is whole now."""
    place = place_of(work.bench)
    damaged = bytearray(large)
    damaged[CHUNK_BYTES + 5] ^= 1
    stat = place.stat()
    place.write_bytes(damaged)
    work.break_off()
    place.write_bytes(large)
    os.utime(place, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert work.backup().exit_code == 0
    assert 2 in work.sent_parts()
    assert 1 not in work.sent_parts()
    assert work.blob(large) == large


def test_a_file_that_is_damaged_now_never_appears(work: Work, large: bytes) -> None:
    work.break_off()
    place = place_of(work.bench)
    damaged = bytearray(large)
    damaged[CHUNK_BYTES + 5] ^= 1
    place.write_bytes(damaged)
    report = work.backup()
    assert [finding.problem for finding in report.findings] == [problems.FILE_DAMAGED]
    assert work.blob(large) is None
    assert work.open_uploads() == []


def test_an_upload_that_somebody_gave_up_is_begun_anew(work: Work, large: bytes) -> None:
    work.break_off()
    (upload,) = work.open_uploads()
    work.server.client().abort_multipart_upload(Bucket=work.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    assert work.backup().exit_code == 0
    assert work.proxy.sent_bytes > PARTS * CHUNK_BYTES - CHUNK_BYTES
    assert work.blob(large) == large
    assert work.open_uploads() == []


def test_a_ledger_that_tells_lies_costs_time_only(work: Work, large: bytes) -> None:
    work.break_off()
    work.bench.ledger.close()
    place = str(work.bench.state / "ledger.sqlite")
    connection = sqlite3.connect(place)
    with connection:
        connection.execute("UPDATE upload_parts SET chunks = (SELECT chunks FROM upload_parts WHERE number = 2)")
    connection.close()
    work.bench.ledger = type(work.bench.ledger)(place)
    assert work.backup().exit_code == 0
    assert work.blob(large) == large
    assert work.open_uploads() == []


def test_a_lost_ledger_leaves_no_upload_open(work: Work, large: bytes) -> None:
    work.break_off()
    work.bench.ledger.close()
    place = work.bench.state / "ledger.sqlite"
    place.unlink()
    work.bench.ledger = type(work.bench.ledger)(str(place))
    assert work.backup().exit_code == 0
    assert work.blob(large) == large
    assert work.open_uploads() == []


def test_what_is_not_needed_any_more_is_given_up(work: Work, large: bytes) -> None:
    work.break_off()
    place = place_of(work.bench)
    place.unlink()
    for link in work.bench.root.rglob("big"):
        for each in link.iterdir():
            each.unlink()
        link.rmdir()
    work.backup()
    assert work.open_uploads() == []


def test_equal_files_are_sent_once(work: Work, large: bytes) -> None:
    hf_snapshot(work.bench.root, {**pipeline_files(), "big/model.safetensors": large}, repo="org/other")
    hf_snapshot(work.bench.root, {"twin.safetensors": large, "copy.safetensors": large}, repo="org/third")
    assert work.backup().exit_code in {0, 2}
    assert work.proxy.sent_bytes < PARTS * CHUNK_BYTES + 10**7
    assert work.blob(large) == large


def test_an_upload_of_another_file_is_left_where_one_snapshot_was_meant(work: Work, bench: Bench) -> None:
    work.break_off()
    hf_snapshot(bench.root, pipeline_files(), repo="org/other")
    other = next(found.key.repo for found in bench.site().find() if str(found.key.repo).endswith("other"))
    assert work.backup(Selection(repo=other)).exit_code == 0
    assert len(work.open_uploads()) == 1
    work.backup()
    assert work.open_uploads() == []


@pytest.mark.parametrize(
    ("known", "status", "code"),
    [
        pytest.param("parts", 403, "AccessDenied", marks=pytest.mark.long),
        ("upload", 501, "NotImplemented"),
        pytest.param("intention", 403, "AccessDenied", marks=pytest.mark.long),
    ],
)
def test_credentials_that_may_only_upload_do_so_after_a_crash_too(
    work: Work, large: bytes, known: str, status: int, code: str
) -> None:
    """They need to list neither uploads nor parts; after a crash no backup succeeded any more."""
    work.break_off()
    if known != "parts":
        ledger, sha256 = work.bench.ledger, hashlib.sha256(large).hexdigest()
        (pending,) = ledger.pending_uploads("bucket")
        assert pending.upload_id is not None
        ledger.begin_upload("bucket", sha256)
        if known == "upload":
            ledger.know_upload("bucket", sha256, pending.upload_id)
    for listing in "uploads", "uploadId=":
        work.proxy.spoil("GET", Answer(status, code), times=9, within=listing)
    report = work.backup()
    assert work.blob(large) == large
    assert [result.action for result in report.snapshots] == ["backed up"]

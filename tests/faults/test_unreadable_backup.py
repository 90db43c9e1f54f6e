"""A disk that cannot give some bytes any more (EIO): the backup names the file, and goes on with other snapshots."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.content import Content
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.s3_server import S3Server
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.failures import DiskError
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.selection import Selection
from zimage_syncd.ports import FileStat
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.upload import Outgoing, upload_file


def failing(bad: set[int], read: Callable[..., object]) -> Callable[..., object]:
    """A reader that fails on these inodes from their second chunk on."""

    def act(descriptor: int, what: object, offset: int) -> object:
        if offset >= CHUNK_BYTES and os.fstat(descriptor).st_ino in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, what, offset)

    return act


@pytest.mark.parametrize("layout", ["huggingface", "modelscope"])
def test_an_unreadable_file_is_named_and_the_other_snapshot_is_backed_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    big = safetensors_bytes({"x": Content(5).randbytes(2 * CHUNK_BYTES + 9)})
    files = {**pipeline_files(), "big/model.safetensors": big}
    hf_snapshot(bench.root, files)
    modelscope_snapshot(bench.root, files)
    places = [at for at in bench.root.rglob("*") if at.is_file() and at.stat().st_size == len(big)]
    bad = {at.stat().st_ino for at in places if ("hub" in at.parts) == (layout == "huggingface")}
    assert len(bad) == 1
    (bench.directory / "bucket").mkdir()
    store = DirectoryStore(str(bench.directory / "bucket"), "owner-1")
    archive = ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", failing(bad, os.pread))
        patched.setattr(os, "preadv", failing(bad, os.preadv))
        report = backup(bench.site(), [archive], Selection(), accept_changed=False)
    assert sorted(result.action for result in report.snapshots) == ["backed up", "refused"]
    (finding,) = [finding for finding in report.findings if finding.counts]
    assert "Input/output error" in finding.detail
    assert any(finding.subject.endswith(str(at.name)) for at in places) or "big/model" in finding.subject
    assert not [at for at in (bench.directory / "bucket").rglob(".*") if at.is_file()]
    assert backup(bench.site(), [archive], Selection(), accept_changed=False).exit_code == 0


def test_a_small_file_with_a_bad_sector_in_its_middle_is_unreadable_not_shorter(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"x" * 10_000
    at = bench.directory / "small.json"
    at.write_bytes(data)
    (bench.directory / "bucket").mkdir()
    store = DirectoryStore(str(bench.directory / "bucket"), "owner-1")
    site = bench.site()
    archive = ObjectArchive("bucket", store, bench.clock, "owner-1", site.owns, "test-host")
    read = os.pread

    def act(descriptor: int, count: int, offset: int) -> bytes:
        if offset >= 4096:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, min(count, 4096 - offset), offset)

    with at.open("rb") as file:
        stat = os.fstat(file.fileno())
        found = FileStat(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_mode)
        sha256 = hashlib.sha256(data).hexdigest()
        monkeypatch.setattr(os, "pread", act)
        with pytest.raises(DiskError, match="Input/output error"):
            upload_file(site, archive, Outgoing(RelPath("small.json"), file.fileno(), found, sha256), lambda _: None)
    assert not [at for at in (bench.directory / "bucket").rglob("*") if at.is_file()]


@dataclass
class Bucket:
    """On the server, as the store of a machine."""

    machine: Machine
    server: S3Server
    name: str

    def run(self, *arguments: str, expected: int, prefix: str = "p") -> dict[str, Any]:
        """A command with the store below a prefix of the bucket; the JSON that it gives."""
        store = f'url = "s3://{self.name}/{prefix}"\nendpoint_url = "{self.server.endpoint_url}"\nregion = "us-east-1"'
        self.machine.write_config(cache=f'mount = "{self.machine.root}/data"', store=store)
        keys = {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        return dict(json.loads(self.machine.run("--json", *arguments, expected=expected, **keys).stdout))

    def blobs(self) -> dict[str, str]:
        """SHA-256 of each blob's content, by name."""
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix="p/blobs/")
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        read = {key: client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}
        return {key.rsplit("/", 1)[-1]: hashlib.sha256(data).hexdigest() for key, data in read.items()}

    def open_uploads(self) -> list[str]:
        answer = self.server.client().list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


@pytest.fixture
def bucket(machine: Machine, seaweed: S3Server) -> Bucket:
    return Bucket(machine, seaweed, seaweed.make_bucket())


@pytest.mark.root
@pytest.mark.parametrize(("chunk", "known"), [(0, False), (2, True)], ids=["hashed as it is sent", "hashed before"])
def test_a_bad_sector_met_in_the_middle_of_a_multipart_upload_leaves_nothing_behind_and_stops_no_other_file(
    machine: Machine, data_disk: LoopDisk, bucket: Bucket, chunk: int, *, known: bool
) -> None:
    content = os.urandom(4 * CHUNK_BYTES)
    bad, good = safetensors_bytes({"x": content}), safetensors_bytes({"x": os.urandom(2 * CHUNK_BYTES)})
    repository = hf_snapshot(
        machine.cache, {**pipeline_files(), "bad/model.safetensors": bad, "good.safetensors": good}
    )
    modelscope_snapshot(machine.cache, pipeline_files())
    if known:
        bucket.run("backup", expected=0, prefix="other")
    place = chunk * CHUNK_BYTES + CHUNK_BYTES // 2
    data_disk.flip_below(content[place : place + 64])
    document = bucket.run("backup", expected=2)
    actions = {result["snapshot"].split("(")[1]: result["action"] for result in document["snapshots"]}
    assert actions == {"huggingface)": "refused", "modelscope)": "backed up"}
    (finding,) = [finding for finding in document["findings"] if finding["problem"]["severity"] != "note"]
    assert finding["problem"]["code"] == "ZS110"
    assert hashlib.sha256(bad).hexdigest() in finding["subject"]
    assert bucket.open_uploads() == []
    blobs = bucket.blobs()
    assert all(name == digest for name, digest in blobs.items())
    assert hashlib.sha256(bad).hexdigest() not in blobs
    assert hashlib.sha256(good).hexdigest() in blobs
    (snapshot,) = bucket.run("snapshots", "--store", "bucket", expected=0)["snapshots"]
    assert "modelscope" in json.dumps(snapshot)

    # With the file written again, the same command makes the backup whole.
    blob = repository / "blobs" / hashlib.sha256(bad).hexdigest()
    blob.unlink()
    blob.write_bytes(bad)
    bucket.run("backup", expected=0)
    assert hashlib.sha256(bad).hexdigest() in bucket.blobs()

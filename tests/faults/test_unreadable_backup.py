"""A disk that cannot give some bytes any more (EIO): the backup names the file, and goes on with other snapshots."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable

import pytest

from tests.support.caches import hf_snapshot, modelscope_snapshot
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
    big = safetensors_bytes({"x": random.Random(5).randbytes(2 * CHUNK_BYTES + 9)})
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

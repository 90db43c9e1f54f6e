"""A disk that cannot give some bytes any more (EIO): the backup names the file, and goes on with other snapshots."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

import pytest

from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup


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

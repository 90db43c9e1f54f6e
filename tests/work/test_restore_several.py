"""Snapshots of one restore that share payload or a directory: what becomes of one when another fails or is resumed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.support.caches import etag_of, hf_snapshot, listing
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.disk.partial import partial_name
from zimage_syncd.model import problems
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource

FIRST, SECOND = "a" * 40, "b" * 40
SHARED, OWN = "big/model.safetensors", "own/model.safetensors"


class Revisions:
    """Two commits of one repository in an archive; both hold `SHARED`, only the second one holds `OWN`."""

    def __init__(self, bench: Bench, content: random.Random) -> None:
        self.bench = bench
        first = {**pipeline_files(), SHARED: safetensors_bytes({"x": content.randbytes(CHUNK_BYTES + 9)})}
        self.files = {**first, OWN: safetensors_bytes({"y": content.randbytes(2 * CHUNK_BYTES + 9)})}
        self.repository = hf_snapshot(bench.root, first, commit=FIRST, refs=("v1",))
        hf_snapshot(bench.root, self.files, commit=SECOND, refs=("main",))
        self.bucket = bench.directory / "bucket"
        self.bucket.mkdir()
        store = DirectoryStore(str(self.bucket), "owner-1")
        self.archive = ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")
        assert backup(bench.site(), [self.archive], Selection(), accept_changed=False).exit_code == 0

    def blob(self, name: str) -> Path:
        return self.repository / "blobs" / etag_of(name, self.files[name])

    @property
    def sources(self) -> list[RestoreSource]:
        return [RestoreSource(self.archive, LinkMode.AUTO)]


@pytest.fixture
def revisions(bench: Bench, content: random.Random) -> Revisions:
    return Revisions(bench, content)


def test_what_one_snapshot_could_not_bring_is_missing_in_every_other_one(bench: Bench, revisions: Revisions) -> None:
    sha256 = revisions.blob(SHARED).name
    (revisions.bucket / "blobs" / sha256[:2] / sha256).unlink()
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    shutil.rmtree(bench.shelf.directory)
    report = restore(bench.site(), revisions.sources, Selection())
    assert [result.action for result in report.snapshots] == ["failed", "failed"]
    assert [finding.problem for finding in report.findings] == [problems.BLOB_MISSING]
    assert not (revisions.repository / "refs").exists()
    assert list(bench.shelf.keys()) == []


def test_a_partial_of_a_later_snapshot_is_gone_on_with(bench: Bench, revisions: Revisions) -> None:
    blob = revisions.blob(OWN)
    path = f"hub/models--org--name/blobs/{blob.name}"
    partial = blob.with_name(partial_name(RelPath(path)))
    blob.rename(partial)
    with partial.open("r+b") as file:
        file.seek(CHUNK_BYTES)
        file.write(bytes(16))
    report = restore(bench.site(), revisions.sources, Selection())
    assert report.exit_code == 0
    assert [result.written_bytes for result in report.snapshots] == [0, CHUNK_BYTES]
    assert blob.read_bytes() == revisions.files[OWN]
    assert bench.partials() == []


def test_of_revisions_that_share_a_directory_the_newest_one_is_restored(bench: Bench) -> None:
    bucket = bench.directory / "bucket"
    bucket.mkdir()
    archive = ObjectArchive("bucket", DirectoryStore(str(bucket), "o"), bench.clock, "o", bench.site().owns, "host")
    place = bench.root / "models/org/name"
    for seed, revision in enumerate(("v9", "v10")):
        shutil.rmtree(place, ignore_errors=True)
        for name, data in {**pipeline_files(seed), ".mv": f"Revision:{revision},CreatedAt:17".encode()}.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        assert backup(bench.site(), [archive], Selection(), accept_changed=False).exit_code == 0
        bench.clock.move(60)
    before = listing(bench.root)
    sources = [RestoreSource(archive, LinkMode.AUTO)]
    for action in ("unchanged", "restored"):
        report = restore(bench.site(), sources, Selection())
        assert [(result.snapshot, result.action) for result in report.snapshots] == [
            ("org/name@v10 (modelscope-legacy)", action)
        ]
        assert listing(bench.root) == before
        shutil.rmtree(bench.root)
        bench.root.mkdir()
    report = restore(bench.site(), sources, Selection(revision="v9"))
    assert report.exit_code == 0
    assert (place / ".mv").read_text() == "Revision:v9,CreatedAt:17"


def test_a_link_where_a_directory_belongs_stops_no_other_entry(bench: Bench, revisions: Revisions) -> None:
    outside = bench.directory / "outside"
    (revisions.repository / "snapshots" / FIRST / "vae").rename(outside)
    before = sorted(outside.iterdir())
    (revisions.repository / "snapshots" / FIRST / "vae").symlink_to(outside)
    (revisions.repository / "snapshots" / SECOND / "vae/config.json").unlink()
    report = restore(bench.site(), revisions.sources, Selection())
    assert [result.action for result in report.snapshots] == ["failed", "restored"]
    assert all(f"{FIRST}/vae/" in finding.subject for finding in report.findings)
    assert (revisions.repository / "snapshots" / SECOND / "vae/config.json").is_symlink()
    assert sorted(outside.iterdir()) == before


def test_a_branch_that_moved_names_the_newest_of_its_commits(bench: Bench) -> None:
    bucket = bench.directory / "bucket"
    bucket.mkdir()
    archive = ObjectArchive("bucket", DirectoryStore(str(bucket), "o"), bench.clock, "o", bench.site().owns, "host")
    base = hf_snapshot(bench.root, pipeline_files(1), commit=FIRST, refs=("main", "v1"))
    assert backup(bench.site(), [archive], Selection(), accept_changed=False).exit_code == 0
    bench.clock.move(60)
    shutil.rmtree(base)  # the library deleted the first commit, and downloaded the second one
    hf_snapshot(bench.root, pipeline_files(2), commit=SECOND, refs=("main",))
    assert backup(bench.site(), [archive], Selection(), accept_changed=False).exit_code == 0
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    assert restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], Selection()).exit_code == 0
    assert (base / "refs/v1").read_text() == FIRST
    assert (base / "refs/main").read_text() == SECOND
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    assert restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], Selection(revision="v1")).exit_code == 0
    assert sorted(place.name for place in (base / "refs").iterdir()) == ["v1"]

"""Backup, loss and restore of whole caches, byte for byte; and what backup refuses."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.archives import Desk
from tests.support.caches import COMMIT, hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model import problems
from zimage_syncd.model.failures import (
    DeviceFull,
    Failure,
    NoSpace,
    NotInStore,
    StoreDenied,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.plan import Fetch, Keep, LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import RepoId, RepoType
from zimage_syncd.report.text import report_text
from zimage_syncd.stores import archive_blobs
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource, plan_restore

ALL = Selection()


@pytest.fixture
def files(content: random.Random) -> dict[str, bytes]:
    """A pipeline with one shard of three chunks."""
    files = pipeline_files()
    large = next(name for name in sorted(files) if name.startswith("transformer/") and name.endswith(".safetensors"))
    keys = safetensors_bytes({"extra": content.randbytes(2 * CHUNK_BYTES + 4096)})
    return {**files, "big/model.safetensors": keys, large: files[large]}


def blobs(bench: Bench) -> list[str]:
    return sorted(place.name for place in (bench.directory / "bucket/blobs").rglob("*") if place.is_file())


def wipe(bench: Bench) -> None:
    shutil.rmtree(bench.root)
    bench.root.mkdir()


def sources(archive: ObjectArchive, mode: LinkMode = LinkMode.AUTO) -> list[RestoreSource]:
    return [RestoreSource(archive, mode)]


def test_a_lost_cache_comes_back_as_it_was(bench: Bench, archive: ObjectArchive, files: dict[str, bytes]) -> None:
    hf_snapshot(bench.root, files, refs=("main", "v1.0", "refs/pr/1"))
    modelscope_snapshot(bench.root, {"config.json": b"{}", **files})
    os.chmod(bench.root / "models/org--name/snapshots/master/config.json", 0o600)
    (bench.root / "token").write_text("hf_secret")
    before = listing(bench.root)
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["backed up", "backed up"]
    assert report.exit_code == 0
    wipe(bench)
    report = restore(bench.site(), sources(archive), ALL)
    assert report.exit_code == 0
    del before["token"]
    assert listing(bench.root) == before
    assert bench.partials() == []


def test_equal_files_of_both_layouts_are_stored_once(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    first = blobs(bench)
    modelscope_snapshot(bench.root, files)
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert blobs(bench) == first
    assert sum(result.written_bytes for result in report.snapshots) == 0


def test_a_second_backup_reads_and_writes_nothing(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    (result,) = report.snapshots
    assert (result.action, result.checked_bytes, result.written_bytes) == ("unchanged", 0, 0)


def test_a_second_restore_does_nothing_and_says_so(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    wipe(bench)
    restore(bench.site(), sources(archive), ALL)
    inodes = {place: place.lstat().st_ino for place in bench.root.rglob("*")}
    report = restore(bench.site(), sources(archive), ALL)
    (result,) = report.snapshots
    assert (result.action, result.written_bytes) == ("unchanged", 0)
    assert {place: place.lstat().st_ino for place in bench.root.rglob("*")} == inodes


@pytest.mark.parametrize("name", ["big/model.safetensors", "model_index.json"])
def test_a_file_that_was_damaged_before_the_backup_is_refused_and_named(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], name: str
) -> None:
    base = hf_snapshot(bench.root, files, trees=False)
    blob = (base / "snapshots" / COMMIT / name).resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 0x20 if name.endswith("json") else 1
    if name.endswith("json"):
        data = bytearray(blob.read_bytes().replace(b'"', b"\x22") + b" ")
    blob.write_bytes(data)
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert report.exit_code == 2
    assert report.findings[0].problem is problems.FILE_DAMAGED
    assert blob.name in report.findings[0].subject
    assert archive.snapshots() == []


def test_a_good_snapshot_is_not_followed_by_a_damaged_one(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    base = modelscope_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    good = [stored.manifest_id for stored in archive.snapshots()]
    place = base / "big/model.safetensors"
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert [finding.problem for finding in report.findings] == [problems.REVISION_CHANGED]
    assert [stored.manifest_id for stored in archive.snapshots()] == good
    report = backup(bench.site(), [archive], ALL, accept_changed=True)
    assert report.exit_code == 0
    assert [stored.manifest_id for stored in archive.snapshots()] != good


def test_what_the_archive_has_is_compared_with_where_the_disk_has_no_record(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    base = modelscope_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    good = [stored.manifest_id for stored in archive.snapshots()]
    shutil.rmtree(bench.shelf.directory)
    (base / "big/model.safetensors").write_bytes(files["big/model.safetensors"][:-1] + b"\x00")
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert [finding.problem for finding in report.findings] == [problems.REVISION_CHANGED]
    assert [stored.manifest_id for stored in archive.snapshots()] == good


def test_a_backup_of_nothing_new_writes_nothing_to_the_archive(bench: Bench, files: dict[str, bytes]) -> None:
    hf_snapshot(bench.root, files)
    desk = Desk()
    archive = desk.archive()
    backup(bench.site(), [archive], ALL, accept_changed=False)
    desk.store.calls.clear()
    (result,) = backup(bench.site(), [archive], ALL, accept_changed=False).snapshots
    assert (result.action, result.checked_bytes, result.written_bytes) == ("unchanged", 0, 0)
    assert not {"put", "create", "delete"} & set(desk.store.calls)


def test_a_backup_of_nothing_new_brings_a_lost_blob_back(bench: Bench, files: dict[str, bytes]) -> None:
    hf_snapshot(bench.root, files)
    desk = Desk()
    archive = desk.archive()
    backup(bench.site(), [archive], ALL, accept_changed=False)
    lost = desk.store.listed("blobs/")[0]
    desk.store.delete(lost)
    (result,) = backup(bench.site(), [archive], ALL, accept_changed=False).snapshots
    assert result.action == "backed up"
    assert lost in desk.store.listed("blobs/")


@pytest.mark.parametrize("failure", [StoreDenied, StoreUnreachable, DeviceFull])
def test_a_backup_that_no_archive_takes_has_failed_and_says_so_once(
    bench: Bench, files: dict[str, bytes], failure: type[Failure]
) -> None:
    hf_snapshot(bench.root, files)
    desk = Desk()
    denied = desk.archive()
    desk.store.failing = {"put": failure("bucket/blobs", "no"), "create": failure("bucket/intents", "no")}
    report = backup(bench.site(), [denied], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["failed: bucket"]
    assert [finding.problem for finding in report.findings] == [failure.problem]
    assert (report.failed, report.exit_code) == (True, 1)
    assert f"{failure.problem.title}: no" in report_text(report)
    assert "nothing was backed up: 1 problem found" in report_text(report)


def test_a_backup_that_one_of_two_archives_takes_has_not_failed(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    desk = Desk()
    denied = desk.archive()
    desk.store.failing = {"put": StoreDenied("bucket/blobs", "no"), "create": StoreDenied("bucket/intents", "no")}
    report = backup(bench.site(), [archive, denied], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["backed up", "failed: bucket"]
    assert (report.failed, report.exit_code) == (False, 2)


def test_an_incomplete_snapshot_is_never_backed_up(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    base = hf_snapshot(bench.root, files)
    (base / "snapshots" / COMMIT / "big/model.safetensors").resolve().unlink()
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert {finding.problem for finding in report.findings} == {problems.SNAPSHOT_INCOMPLETE}
    assert "big/model.safetensors" in " ".join(finding.detail for finding in report.findings)
    assert archive.snapshots() == []


def test_a_plan_tells_what_a_restore_does_and_writes_nothing(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    base = hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    (base / "snapshots" / COMMIT / "big/model.safetensors").resolve().unlink()
    before = listing(bench.root)
    plan = plan_restore(bench.site(), sources(archive), ALL).plan
    assert plan.fetch_bytes == len(files["big/model.safetensors"])
    kinds = {type(action) for action in plan.snapshots[0].actions}
    assert kinds == {Keep, Fetch}
    assert listing(bench.root) == before
    assert bench.partials() == []


def test_not_enough_space_is_refused_before_the_first_byte(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], tmp_path: Path
) -> None:
    hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    wipe(bench)

    class SmallDisk(type(bench.disk)):  # type: ignore[misc]
        def free_bytes(self) -> int:
            return 20 * 2**20

    bench.disk.__class__ = SmallDisk
    with pytest.raises(NoSpace, match=r"needs [\d,]+ bytes, 20,971,520 are free"):
        restore(bench.site(), sources(archive), ALL)
    assert listing(bench.root) == {}
    assert os.listdir(bench.root) == []


def test_what_no_store_has_is_an_error_that_names_it(bench: Bench, archive: ObjectArchive) -> None:
    archive.prepare()
    with pytest.raises(NotInStore, match="no/such"):
        restore(bench.site(), sources(archive), Selection(repo=RepoId(RepoType.MODEL, "no/such")))


def test_an_existing_reference_is_never_moved(bench: Bench, archive: ObjectArchive, files: dict[str, bytes]) -> None:
    base = hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    (base / "refs/main").write_text("f" * 40)
    (base / "snapshots" / COMMIT / "big/model.safetensors").unlink()
    restore(bench.site(), sources(archive), ALL)
    assert (base / "refs/main").read_text() == "f" * 40
    assert (base / "snapshots" / COMMIT / "big/model.safetensors").is_symlink()


@pytest.mark.parametrize("mode", [LinkMode.HARDLINK])
def test_hard_links_share_the_stores_files(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], mode: LinkMode
) -> None:
    hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    wipe(bench)
    report = restore(bench.site(), sources(archive, mode), ALL)
    (result,) = report.snapshots
    assert result.linked_bytes == result.total_bytes
    blob = (bench.root / "hub/models--org--name/snapshots" / COMMIT / "big/model.safetensors").resolve()
    assert blob.stat().st_nlink == 2
    assert "verify --deep" in result.detail


def test_a_damaged_file_under_restore_is_mended_by_chunk_and_kept_aside(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    base = hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    blob = (base / "snapshots" / COMMIT / "big/model.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[CHUNK_BYTES + 5] ^= 1
    blob.write_bytes(data)
    report = restore(bench.site(), sources(archive), ALL)
    (result,) = report.snapshots
    assert result.written_bytes == CHUNK_BYTES
    assert blob.read_bytes() == files["big/model.safetensors"]
    assert [place.read_bytes() for place in bench.quarantined()] == [bytes(data)]


class Unplugged(DirectoryStore):
    """A store that can be asked for everything but content."""

    def read(self, key: str, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        raise StoreUnreachable("far", "unplugged")
        yield buffer

    def local_path(self, key: str) -> str | None:
        return None


def test_damage_in_one_store_is_told_although_another_one_that_is_gone_kept_the_file_back(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    place = bench.directory / "bucket"
    far = ObjectArchive("far", Unplugged(str(place), "o"), bench.clock, "o", bench.site().owns, "test-host")
    wipe(bench)
    blob = max((place / "blobs").rglob("*"), key=lambda each: each.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[5] ^= 1
    blob.write_bytes(data)
    report = restore(bench.site(), [*sources(archive, LinkMode.COPY), *sources(far, LinkMode.COPY)], ALL)
    told = {finding.problem: f"{finding.subject}: {finding.detail}" for finding in report.findings}
    assert told.keys() == {problems.CHUNK_CORRUPT, problems.STORE_UNREACHABLE}
    assert "bucket: chunk 1 of 3" in told[problems.CHUNK_CORRUPT]
    assert "far: unplugged" in told[problems.STORE_UNREACHABLE]


def test_many_files_are_not_one_task_each(
    bench: Bench, archive: ObjectArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one task for each of 100,000 files the tasks alone took 100 MB."""
    hf_snapshot(bench.root, {f"data/{number:04}.txt": b"%d" % number for number in range(300)})
    tasks: list[object] = []
    submit = ThreadPoolExecutor.submit
    monkeypatch.setattr(
        ThreadPoolExecutor, "submit", lambda pool, *words: (tasks.append(words), submit(pool, *words))[1]
    )
    monkeypatch.setattr(archive_blobs, "_LISTED_FROM", 1)

    report = backup(bench.site(), [archive], ALL, accept_changed=False)

    assert [result.action for result in report.snapshots] == ["backed up"]
    assert len(blobs(bench)) == 300
    assert len(tasks) < 20

"""Verification and repair: every kind of damage is named exactly, and mended from the store by chunk."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.caches import COMMIT, hf_snapshot, listing, modelscope_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.disk.shelf import DiskShelf
from zimage_syncd.model import problems
from zimage_syncd.model.failures import CacheEmpty, PathUnreadable, SnapshotMissing
from zimage_syncd.model.manifest import CHUNK_BYTES, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.problems import Problem
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import RepoId, RepoType, SnapshotKey
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.work.backup import backup
from zimage_syncd.work.verify import verify
from zimage_syncd.work.verify_store import verify_store

ALL = Selection()
BIG = "big/model.safetensors"
SMALL = "scheduler/scheduler_config.json"


@pytest.fixture
def files(content: random.Random) -> dict[str, bytes]:
    return {**pipeline_files(), BIG: safetensors_bytes({"x": content.randbytes(2 * CHUNK_BYTES + 4096)})}


@pytest.fixture
def base(bench: Bench, archive: ObjectArchive, files: dict[str, bytes]) -> Path:
    """A backed-up Hugging Face snapshot's directory of names."""
    repository = hf_snapshot(bench.root, files)
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert report.exit_code == 0
    return repository / "snapshots" / COMMIT


def check(bench: Bench, archive: ObjectArchive, *, deep: bool = True, repair: bool = False) -> Report:
    return verify(bench.site(), [archive], ALL, deep=deep, repair=repair)


def flip(place: Path, offset: int) -> None:
    data = bytearray(place.read_bytes())
    data[offset] ^= 0x04
    place.write_bytes(data)


def damage_flip_first(base: Path) -> None:
    flip((base / BIG).resolve(), 200)


def damage_flip_middle(base: Path) -> None:
    flip((base / BIG).resolve(), CHUNK_BYTES + 77)


def damage_flip_last(base: Path) -> None:
    flip((base / BIG).resolve(), -1)


def damage_flip_small(base: Path) -> None:
    flip((base / SMALL).resolve(), 3)


def damage_truncate(base: Path) -> None:
    os.truncate((base / BIG).resolve(), CHUNK_BYTES + 5)


def damage_delete(base: Path) -> None:
    (base / BIG).resolve().unlink()


def damage_delete_small(base: Path) -> None:
    (base / SMALL).resolve().unlink()


def damage_replace_link(base: Path) -> None:
    place = base / BIG
    place.unlink()
    place.write_bytes(b"something else")


def damage_turn_link(base: Path) -> None:
    place = base / BIG
    target = os.readlink(base / SMALL)
    place.unlink()
    place.symlink_to(target)


def damage_delete_link(base: Path) -> None:
    (base / BIG).unlink()


CASES: list[tuple[Callable[[Path], None], Problem, str, tuple[int, ...]]] = [
    (damage_flip_first, problems.FILE_DAMAGED, BIG, (0,)),
    (damage_flip_middle, problems.FILE_DAMAGED, BIG, (1,)),
    (damage_flip_last, problems.FILE_DAMAGED, BIG, (2,)),
    (damage_flip_small, problems.FILE_DAMAGED, SMALL, (0,)),
    (damage_truncate, problems.FILE_SIZE, BIG, (1, 2)),
    (damage_delete, problems.FILE_MISSING, BIG, ()),
    (damage_delete_small, problems.FILE_MISSING, SMALL, ()),
    (damage_replace_link, problems.LINK_WRONG, BIG, ()),
    (damage_turn_link, problems.LINK_WRONG, BIG, ()),
    (damage_delete_link, problems.LINK_WRONG, BIG, ()),
]


@pytest.mark.parametrize(("damage", "problem", "name", "chunks"), CASES, ids=[case[0].__name__ for case in CASES])
def test_damage_is_named_exactly_and_mended_from_the_store(
    bench: Bench,
    archive: ObjectArchive,
    base: Path,
    files: dict[str, bytes],
    damage: Callable[[Path], None],
    problem: Problem,
    name: str,
    chunks: tuple[int, ...],
) -> None:
    before = listing(bench.root)
    damage(base)
    report = check(bench, archive)
    assert report.exit_code == 2
    (finding,) = report.findings
    assert (finding.problem, finding.chunks, finding.mended) == (problem, chunks, False)
    assert name in finding.subject
    report = check(bench, archive, repair=True)
    assert report.exit_code == 2
    assert [(finding.problem, finding.mended) for finding in report.findings] == [(problem, True)]
    fetched = sum(use.read_bytes for result in report.snapshots for use in result.sources)
    assert fetched == sum(min(CHUNK_BYTES, len(files[name]) - index * CHUNK_BYTES) for index in chunks) or not chunks
    assert listing(bench.root) == before
    assert check(bench, archive).exit_code == 0
    assert bench.partials() == []


def test_a_damaged_list_of_files_is_named_mended_and_kept_aside(
    bench: Bench, archive: ObjectArchive, base: Path
) -> None:
    place = base.parents[1] / "trees" / f"{COMMIT}.json"
    good = place.read_bytes()
    for bad in (good.replace(b'"size": ', b'"size": 1'), b"garbage", b""):
        place.write_bytes(bad)
        report = check(bench, archive, deep=False)
        assert problems.POINTER_DAMAGED in {finding.problem for finding in report.findings}
        check(bench, archive, deep=False, repair=True)
        assert place.read_bytes() == good
        assert bad in [kept.read_bytes() for kept in bench.quarantined()]
    place.write_bytes(good.replace(b'"format_version": 1', b'"format_version": 2'))
    assert check(bench, archive).exit_code == 0


def test_a_reference_that_names_no_commit_is_damaged_and_one_that_moved_is_not(
    bench: Bench, archive: ObjectArchive, base: Path
) -> None:
    place = base.parents[1] / "refs/main"
    place.write_text("f" * 40)
    assert check(bench, archive).exit_code == 0
    for bad in ("garbage", "", COMMIT[:-1] + "?"):
        place.write_text(bad)
        report = check(bench, archive, deep=False)
        assert [finding.problem for finding in report.findings] == [problems.POINTER_DAMAGED]
        check(bench, archive, deep=False, repair=True)
        assert place.read_text() == COMMIT
    place.unlink()
    place.symlink_to("/etc/hostname")
    check(bench, archive, deep=False, repair=True)
    assert place.read_text() == COMMIT
    assert not place.is_symlink()


def test_two_swapped_files_are_both_named(bench: Bench, archive: ObjectArchive, base: Path) -> None:
    names = sorted(place for place in base.rglob("diffusion_pytorch_model-0000*"))
    first, second = (place.resolve() for place in names)
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    report = check(bench, archive)
    assert sorted(finding.subject.split(" ")[0] for finding in report.findings) == sorted(
        str(place.relative_to(bench.root)) for place in (first, second)
    )
    assert check(bench, archive, repair=True).exit_code == 2
    assert check(bench, archive).exit_code == 0


def test_a_quick_check_sees_sizes_links_and_headers_but_reads_no_payload(
    bench: Bench, archive: ObjectArchive, base: Path
) -> None:
    flip((base / BIG).resolve(), CHUNK_BYTES + 77)
    report = check(bench, archive, deep=False)
    assert report.exit_code == 0
    assert sum(result.checked_bytes for result in report.snapshots) == 0
    flip((base / BIG).resolve(), 7)
    report = check(bench, archive, deep=False)
    assert {finding.problem for finding in report.findings} == {problems.FILE_DAMAGED}


def test_wrong_permissions_are_a_finding_and_mended(bench: Bench, archive: ObjectArchive, base: Path) -> None:
    place = (base / SMALL).resolve()
    mode = place.stat().st_mode & 0o777
    place.chmod(0o600)
    report = check(bench, archive, deep=False)
    assert [finding.problem for finding in report.findings] == [problems.MODE_WRONG]
    check(bench, archive, deep=False, repair=True)
    assert place.stat().st_mode & 0o777 == mode


def test_without_a_store_damage_is_found_and_stays_as_it_is(bench: Bench, base: Path) -> None:
    damage_flip_middle(base)
    before = listing(bench.root)
    report = verify(bench.site(), [], ALL, deep=True, repair=True)
    assert [finding.problem for finding in report.findings] == [problems.UNREPAIRED]
    assert listing(bench.root) == before


def test_what_was_never_recorded_is_compared_with_its_publishers_list(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    repository = hf_snapshot(bench.root, files)
    report = check(bench, archive)
    assert {finding.problem for finding in report.findings} == {problems.NEVER_RECORDED}
    assert report.exit_code == 0
    flip((repository / "snapshots" / COMMIT / BIG).resolve(), CHUNK_BYTES)
    report = check(bench, archive)
    assert problems.DISAGREES_WITH_SOURCE in {finding.problem for finding in report.findings}
    assert report.exit_code == 2


def test_what_was_never_recorded_and_has_no_list_is_said_to_be_compared_with_none(
    bench: Bench, archive: ObjectArchive
) -> None:
    modelscope_snapshot(bench.root, {"config.json": b"{}"})
    (result,) = check(bench, archive, deep=True).snapshots
    assert "nothing is there to compare its content with" in result.detail
    (result,) = check(bench, archive, deep=False).snapshots
    assert result.detail == "presence, sizes and headers"


def deny(bench: Bench, blob: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user, whom permissions stop; root they do not."""
    open_read = bench.disk.open_read

    def denied(path: RelPath) -> int:
        if path == blob:
            raise PathUnreadable(f"{bench.root}/{path}", "Permission denied")
        return open_read(path)

    monkeypatch.setattr(bench.disk, "open_read", denied)


def test_a_file_that_may_not_be_read_does_not_stop_the_check_of_what_was_never_recorded(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hf_snapshot(bench.root, files)
    blob = str((repository / "snapshots" / COMMIT / SMALL).resolve().relative_to(bench.root))
    deny(bench, blob, monkeypatch)
    flip((repository / "snapshots" / COMMIT / BIG).resolve(), CHUNK_BYTES)
    found = {finding.problem: finding.subject for finding in check(bench, archive).findings}
    assert found[problems.PATH_UNREADABLE] == f"{bench.root}/{blob}"
    assert problems.DISAGREES_WITH_SOURCE in found


@pytest.mark.parametrize("repair", [False, True])
def test_a_file_that_may_not_be_read_is_told_once_with_the_remedy_for_permissions(
    bench: Bench, archive: ObjectArchive, base: Path, monkeypatch: pytest.MonkeyPatch, repair: bool
) -> None:
    blob = str((base / SMALL).resolve().relative_to(bench.root))
    deny(bench, blob, monkeypatch)
    (finding,) = check(bench, archive, repair=repair).findings
    assert (finding.problem, finding.detail) == (problems.PATH_UNREADABLE, "Permission denied")
    assert finding.subject.startswith(blob)


def test_a_snapshot_that_vanished_whole_is_missed(
    bench: Bench, archive: ObjectArchive, files: dict[str, bytes]
) -> None:
    place = modelscope_snapshot(bench.root, files)
    backup(bench.site(), [archive], ALL, accept_changed=False)
    before = listing(bench.root)
    os.rename(place, bench.directory / "gone")
    report = check(bench, archive, deep=False)
    assert {finding.problem for finding in report.findings} == {problems.FILE_MISSING}
    check(bench, archive, deep=False, repair=True)
    assert listing(bench.root) == before


def test_an_empty_cache_and_an_unknown_repository_are_errors(bench: Bench, archive: ObjectArchive, base: Path) -> None:
    wanted = Selection(repo=RepoId(RepoType.MODEL, "no/such"))
    with pytest.raises(SnapshotMissing, match="no/such"):
        verify(bench.site(), [archive], wanted, deep=False, repair=False)


def test_an_empty_cache_is_an_error(bench: Bench, archive: ObjectArchive) -> None:
    with pytest.raises(CacheEmpty):
        check(bench, archive)


class TestStore:
    def sizes(self, archive: ObjectArchive) -> dict[str, int]:
        return {blob.sha256: blob.size_bytes for blob in archive.blobs()}

    def blob(self, bench: Bench, base: Path) -> Path:
        name = (base / BIG).resolve().name
        return bench.directory / "bucket/blobs" / name[:2] / name

    @pytest.mark.parametrize("deep", [False, True])
    def test_a_good_store_is_good(self, bench: Bench, archive: ObjectArchive, base: Path, deep: bool) -> None:
        report = verify_store(bench.site(), archive, ALL, blob_sizes=self.sizes(archive), deep=deep)
        assert report.exit_code == 0

    def test_a_missing_blob_is_named(self, bench: Bench, archive: ObjectArchive, base: Path) -> None:
        self.blob(bench, base).unlink()
        report = verify_store(bench.site(), archive, ALL, blob_sizes=self.sizes(archive), deep=False)
        assert [finding.problem for finding in report.findings] == [problems.BLOB_MISSING]
        assert BIG in report.findings[0].subject

    def test_a_truncated_blob_is_named(self, bench: Bench, archive: ObjectArchive, base: Path) -> None:
        os.truncate(self.blob(bench, base), 1000)
        report = verify_store(bench.site(), archive, ALL, blob_sizes=self.sizes(archive), deep=False)
        assert [finding.problem for finding in report.findings] == [problems.BLOB_WRONG_SIZE]

    def test_a_flipped_bit_is_found_by_reading(self, bench: Bench, archive: ObjectArchive, base: Path) -> None:
        flip(self.blob(bench, base), CHUNK_BYTES + 1)
        report = verify_store(bench.site(), archive, ALL, blob_sizes=self.sizes(archive), deep=True)
        assert [(finding.problem, finding.chunks) for finding in report.findings] == [(problems.CHUNK_CORRUPT, (1,))]


def make_directory(place: Path) -> None:
    place.mkdir()
    (place / "precious").write_text("mine")


@pytest.mark.parametrize("intrude", [make_directory, Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("where", ["payload", "name", "reference"])
def test_what_is_no_file_goes_to_quarantine_and_makes_room(
    bench: Bench, archive: ObjectArchive, base: Path, where: str, intrude: Callable[[Path], None]
) -> None:
    before = listing(bench.root)
    name = base / SMALL
    place = {"payload": name.resolve(), "name": name, "reference": base.parents[1] / "refs/main"}[where]
    place.unlink()
    intrude(place)
    report = check(bench, archive)
    assert [finding.subject.split(" ")[0] for finding in report.findings] == [str(place.relative_to(bench.root))]
    report = check(bench, archive, repair=True)
    assert [finding.mended for finding in report.findings] == [True]
    assert listing(bench.root) == before
    assert check(bench, archive).exit_code == 0
    kept = [place.read_text() for place in bench.quarantined()]
    assert kept == (["mine"] if intrude is make_directory else [])


class CountingShelf(DiskShelf):
    """Counts how often a record is read."""

    loads = 0

    def load(self, key: SnapshotKey) -> Manifest | None:
        self.loads += 1
        return super().load(key)


def test_a_clean_verification_reads_the_record_once(bench: Bench, archive: ObjectArchive, base: Path) -> None:
    shelf = CountingShelf(bench.shelf.directory)
    report = verify(replace(bench.site(), shelf=shelf), [archive], ALL, deep=False, repair=False)
    assert report.exit_code == 0
    assert shelf.loads == 1


def test_a_record_that_is_damaged_is_as_none_and_the_files_are_compared_with_their_list(
    bench: Bench, base: Path, files: dict[str, bytes]
) -> None:
    record = next(Path(bench.shelf.directory).rglob("*.json"))
    record.write_bytes(record.read_bytes()[:-1])
    report = verify(bench.site(), [], ALL, deep=True, repair=False)
    (result,) = report.snapshots
    assert (result.action, result.files) == ("checked", len(files))
    assert result.checked_bytes == sum(map(len, files.values()))


def test_a_record_that_is_damaged_is_written_again_after_a_clean_verification(
    bench: Bench, archive: ObjectArchive, base: Path
) -> None:
    record = next(Path(bench.shelf.directory).rglob("*.json"))
    whole = record.read_bytes()
    record.write_bytes(whole[:-1])
    assert check(bench, archive).exit_code == 0
    assert record.read_bytes() == whole

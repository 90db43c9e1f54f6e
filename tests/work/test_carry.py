"""References go along with backups and restores, and never make one fail."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.support.caches import hf_snapshot
from tests.support.pictures import reference
from tests.support.site import Bench, StopAfter
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.failures import Failure, Stopped, StoreUnreachable
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.picture import Reference
from zimage_syncd.model.picture_json import name_of
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.carry import fetch_references
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource

PNG = b"\x89PNG of a lighthouse"


class Fickle(ObjectArchive):
    """An archive whose pictures fail in a named way."""

    failure: Failure | None = None

    def reference_names(self, manifest: Manifest) -> list[str]:
        if self.failure is not None:
            raise self.failure
        return super().reference_names(manifest)


@pytest.fixture
def fickle(bench: Bench) -> Fickle:
    place = bench.directory / "fickle"
    place.mkdir()
    store = DirectoryStore(str(place), "owner-1")
    return Fickle("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")


def back_up(bench: Bench, archive: ObjectArchive) -> Report:
    return backup(bench.site(), [archive], Selection(), accept_changed=False)


def bring_back(bench: Bench, *archives: ObjectArchive) -> Report:
    sources = [RestoreSource(archive, LinkMode.COPY, asked_for=False) for archive in archives]
    return restore(bench.site(), sources, Selection())


def lose(bench: Bench, *, references: bool = True) -> None:
    """Everything but the archive."""
    for place in bench.root.iterdir():
        shutil.rmtree(place)
    if references:
        shutil.rmtree(bench.state / "references")


@contextmanager
def recorded(bench: Bench, archive: ObjectArchive) -> Iterator[Reference]:
    """A snapshot that is backed up, with a reference on the data disk that is not."""
    hf_snapshot(bench.root, pipeline_files())
    (row,) = back_up(bench, archive).snapshots
    kept = replace(reference(row.manifest_id), picture_sha256=hashlib.sha256(PNG).hexdigest())
    bench.references.keep(kept, PNG)
    yield kept


def test_the_next_backup_sends_a_reference_and_the_one_after_nothing(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        (row,) = back_up(bench, archive).snapshots
        assert row.action == "unchanged"
        assert row.detail.endswith("; 1 reference picture sent to bucket")
        manifest = archive.manifest(row.manifest_id)
        assert archive.reference(manifest, name_of(kept.conditions)) == (kept, PNG)
        (row,) = back_up(bench, archive).snapshots
        assert "reference" not in row.detail


def test_without_any_reference_no_archive_is_asked(bench: Bench, fickle: Fickle) -> None:
    hf_snapshot(bench.root, pipeline_files())
    fickle.failure = StoreUnreachable("bucket", "unplugged")
    (row,) = back_up(bench, fickle).snapshots
    assert (row.action, "reference" in row.detail) == ("backed up", False)


def test_a_picture_that_was_damaged_on_the_data_disk_is_not_sent(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        (found,) = bench.references.load(kept.manifest_id)
        with open(found.picture, "wb") as file:
            file.write(b"other")
        (row,) = back_up(bench, archive).snapshots
        assert archive.reference_names(archive.manifest(row.manifest_id)) == []


def test_where_they_cannot_be_sent_the_backup_is_as_good(bench: Bench, fickle: Fickle) -> None:
    with recorded(bench, fickle):
        fickle.failure = StoreUnreachable("bucket", "unplugged")
        report = back_up(bench, fickle)
    assert report.exit_code == 0
    assert "reference pictures could not be sent to bucket" in report.snapshots[0].detail


def test_a_restore_after_the_loss_of_both_disks_brings_them_back(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        lose(bench)
        report = bring_back(bench, archive)
        assert report.exit_code == 0
        assert report.snapshots[0].detail.endswith("; 1 reference picture brought back")
        (found,) = bench.references.load(kept.manifest_id)
        assert replace(found, picture="") == kept
        assert bench.references.picture(found) == PNG


def test_those_that_the_data_disk_has_stay(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        lose(bench, references=False)
        assert "reference" not in bring_back(bench, archive).snapshots[0].detail
        assert len(bench.references.load(kept.manifest_id)) == 1


def test_where_they_cannot_be_asked_for_the_restore_is_as_good(bench: Bench, fickle: Fickle) -> None:
    with recorded(bench, fickle):
        back_up(bench, fickle)
        lose(bench)
        fickle.failure = StoreUnreachable("bucket", "unplugged")
        report = bring_back(bench, fickle)
    assert report.exit_code == 0
    assert report.snapshots[0].action == "restored"
    assert any("could not be asked for" in note for note in bench.monitor.notes)


def test_one_that_cannot_be_trusted_is_passed_over(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        bench.references.keep(replace(kept, conditions=replace(kept.conditions, seed=7)), PNG)
        back_up(bench, archive)
        lose(bench)
        (damaged,) = (bench.directory / "bucket" / "pictures").rglob(f"{name_of(kept.conditions)}.json")
        damaged.write_bytes(b"{")
        assert bring_back(bench, archive).exit_code == 0
        assert [found.conditions.seed for found in bench.references.load(kept.manifest_id)] == [7]
        assert any("could not be brought back" in note for note in bench.monitor.notes)


def test_one_that_an_archive_cannot_tell_what_it_is_is_replaced_by_that_of_the_data_disk(
    bench: Bench, archive: ObjectArchive
) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        manifest, name = archive.manifest(kept.manifest_id), name_of(kept.conditions)
        (damaged,) = (bench.directory / "bucket" / "pictures").rglob(f"{name}.json")
        damaged.write_bytes(b"{")
        (row,) = back_up(bench, archive).snapshots
        assert row.detail.endswith("; 1 reference picture sent to bucket")
        assert archive.reference(manifest, name) == (kept, PNG)
        said = f"reference {name} of {manifest.key} in bucket cannot be understood: it is replaced"
        assert bench.monitor.notes.count(said) == 1
        back_up(bench, archive)
        assert bench.monitor.notes.count(said) == 1


def test_one_that_nothing_can_replace_stays(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        (damaged,) = (bench.directory / "bucket" / "pictures").rglob("*.json")
        damaged.write_bytes(b"{")
        (found,) = bench.references.load(kept.manifest_id)
        with open(found.picture, "wb") as file:
            file.write(b"other")
        assert "reference" not in back_up(bench, archive).snapshots[0].detail
        assert damaged.read_bytes() == b"{"
        assert not [note for note in bench.monitor.notes if "replaced" in note]


def test_a_store_that_has_none_is_followed_by_the_next(bench: Bench, archive: ObjectArchive, fickle: Fickle) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        moved = bench.state / "moved"
        (bench.state / "references").rename(moved)
        back_up(bench, fickle)
        manifest = archive.manifest(kept.manifest_id)
        assert fetch_references(bench.site(), [fickle, archive], manifest) == "1 reference picture brought back"


def test_a_wish_to_stop_is_heard(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        lose(bench)
        bench.cancel = StopAfter(0)
        with pytest.raises(Stopped):
            fetch_references(bench.site(), [archive], archive.manifest(kept.manifest_id))


def test_beside_the_cache_nothing_is_remembered(bench: Bench, archive: ObjectArchive) -> None:
    with recorded(bench, archive) as kept:
        back_up(bench, archive)
        site = replace(bench.site(), references=None)
        assert fetch_references(site, [archive], archive.manifest(kept.manifest_id)) == ""

"""References on the data disk: kept once, read back only where they hold, and bounded in number."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.pictures import AT, reference
from zimage_syncd.disk.references import MAX_SNAPSHOTS, DiskReferences
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.picture import MAX_REFERENCES, Reference
from zimage_syncd.model.picture_json import name_of

PNG = b"\x89PNG and so on"
KEPT = replace(reference(), picture_sha256=hashlib.sha256(PNG).hexdigest())
NAME = name_of(KEPT.conditions)


@pytest.fixture
def shelf(tmp_path: Path) -> DiskReferences:
    return DiskReferences(str(tmp_path / "references"))


def place_of(shelf: DiskReferences, suffix: str) -> Path:
    return Path(shelf.directory, KEPT.manifest_id, NAME + suffix)


def of_snapshot(number: int) -> Reference:
    return replace(KEPT, manifest_id=f"{number:064x}")


def test_what_was_kept_is_read_back_with_its_picture(shelf: DiskReferences) -> None:
    assert shelf.keep(KEPT, PNG)
    (found,) = shelf.load(KEPT.manifest_id)
    assert found == replace(KEPT, picture=str(place_of(shelf, ".png")))
    assert shelf.picture(found) == PNG
    assert sorted(os.listdir(place_of(shelf, ".png").parent)) == [f"{NAME}.json", f"{NAME}.png"]


def test_a_snapshot_without_any_has_none(shelf: DiskReferences) -> None:
    assert shelf.load("f" * 64) == ()


def test_a_later_picture_of_the_same_conditions_never_takes_its_place(shelf: DiskReferences) -> None:
    shelf.keep(KEPT, PNG)
    later = replace(KEPT, made_at=AT + timedelta(days=1), picture_sha256=hashlib.sha256(b"other").hexdigest())
    assert not shelf.keep(later, b"other")
    (found,) = shelf.load(KEPT.manifest_id)
    assert found.made_at == AT
    assert shelf.picture(found) == PNG


def test_other_conditions_are_kept_beside_it_the_oldest_first(shelf: DiskReferences) -> None:
    younger = replace(reference(device="NVIDIA H200"), made_at=AT + timedelta(hours=1))
    assert shelf.keep(younger, PNG)
    assert shelf.keep(KEPT, PNG)
    assert [found.conditions.device for found in shelf.load(KEPT.manifest_id)] == ["cpu", "NVIDIA H200"]


def test_no_more_are_kept_of_a_snapshot_than_a_request_may_have(shelf: DiskReferences) -> None:
    kept = [shelf.keep(replace(KEPT, conditions=replace(KEPT.conditions, seed=seed)), PNG) for seed in range(18)]
    assert kept == [True] * MAX_REFERENCES + [False] * 2
    assert len(shelf.load(KEPT.manifest_id)) == MAX_REFERENCES


def test_those_of_the_snapshots_kept_longest_ago_go_when_there_are_too_many(shelf: DiskReferences) -> None:
    for number in range(MAX_SNAPSHOTS):
        shelf.keep(of_snapshot(number), PNG)
        os.utime(Path(shelf.directory, f"{number:064x}"), (1000 + number, 1000 + number))
    Path(shelf.directory, "somebody's").mkdir()
    shelf.keep(of_snapshot(99), PNG)
    left = set(os.listdir(shelf.directory))
    assert len(left) == MAX_SNAPSHOTS + 1
    assert f"{0:064x}" not in left
    assert {f"{1:064x}", f"{99:064x}", "somebody's"} <= left


DAMAGE = {
    "cut": lambda text: text[:-9],
    "another snapshot's": lambda text: text.replace("a" * 64, "b" * 64),
    "of other conditions than its name": lambda text: text.replace('"seed":42', '"seed":43'),
    "no JSON": lambda text: "",
    "a key more": lambda text: text.replace('"seed":42', '"seed":42,"more":1'),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_document_that_cannot_be_trusted_is_passed_over(shelf: DiskReferences, kind: str) -> None:
    shelf.keep(KEPT, PNG)
    place = place_of(shelf, ".json")
    place.write_text(DAMAGE[kind](place.read_text()))
    damaged = place.read_bytes()
    assert shelf.load(KEPT.manifest_id) == ()
    assert shelf.keep(KEPT, PNG)
    assert len(shelf.load(KEPT.manifest_id)) == 1
    assert place.with_name(f"{NAME}.json.unreadable").read_bytes() == damaged


def test_documents_that_cannot_be_trusted_take_no_reference_its_room(shelf: DiskReferences) -> None:
    place_of(shelf, "").parent.mkdir(parents=True)
    for number in range(MAX_REFERENCES + 1):
        place_of(shelf, "").with_name(f"{number:016x}.json").touch()
    assert shelf.keep(KEPT, PNG)
    assert len(shelf.load(KEPT.manifest_id)) == 1


def test_a_picture_that_is_not_what_was_kept_is_none(shelf: DiskReferences) -> None:
    shelf.keep(KEPT, PNG)
    (found,) = shelf.load(KEPT.manifest_id)
    place_of(shelf, ".png").write_bytes(b"other")
    assert shelf.picture(found) is None
    place_of(shelf, ".png").unlink()
    assert shelf.picture(found) is None


def test_a_picture_without_its_document_is_written_again(shelf: DiskReferences) -> None:
    """That is what a kill between the two leaves."""
    place_of(shelf, ".png").parent.mkdir(parents=True)
    place_of(shelf, ".png").write_bytes(b"of a run that was killed")
    assert shelf.keep(KEPT, PNG)
    assert place_of(shelf, ".png").read_bytes() == PNG


def test_where_it_cannot_be_written_that_is_said(shelf: DiskReferences, tmp_path: Path) -> None:
    (tmp_path / "references").write_text("in the way")
    with pytest.raises(UnsafePath):
        shelf.keep(KEPT, PNG)

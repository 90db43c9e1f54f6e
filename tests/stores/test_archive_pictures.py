"""Reference pictures in an archive: written once, beside the manifest, and believed only where they hold."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.support.archives import Desk, archive_on
from tests.support.manifests import key_of, manifest_with, upload
from tests.support.object_store import ScriptedStore, fixed_clock
from tests.support.pictures import reference
from zimage_syncd.model.failures import ObjectMissing, StoreBroken, UnsafePath
from zimage_syncd.model.picture import MAX_PICTURE_BYTES, MAX_REFERENCES, Reference
from zimage_syncd.model.picture_json import encode_reference, name_of
from zimage_syncd.stores.archive_keys import ManifestKey, picture_document, picture_file
from zimage_syncd.stores.directory import DirectoryStore

FILES = {"hub/models--acme--painter/blobs/one": b"one"}
MANIFEST = manifest_with(FILES)
OTHER = manifest_with(FILES, key_of(revision="f" * 40))
PNG = b"\x89PNG of a lighthouse"


def kept(picture: bytes = PNG, **conditions: object) -> Reference:
    return replace(reference(MANIFEST.id, **conditions), picture_sha256=hashlib.sha256(picture).hexdigest())


KEPT = kept()
NAME = name_of(KEPT.conditions)
PLACE = ManifestKey(MANIFEST.key.layout, MANIFEST.key.repo, MANIFEST.id)
DOCUMENT = picture_document(PLACE, NAME)
FILE = picture_file(PLACE, KEPT.picture_sha256)


def filled(archive):
    archive.prepare()
    upload(archive, MANIFEST, FILES)
    archive.publish(MANIFEST, ("main",), "gpu-7")
    return archive


@pytest.fixture
def desk():
    desk = Desk()
    filled(desk.archive())
    return desk


@pytest.mark.parametrize("kind", ["memory", "no conditions", "directory"])
def test_what_was_put_is_read_back_by_another_machine(kind, tmp_path):
    clock = fixed_clock()
    store = ScriptedStore(clock.now, ignores_conditions=kind == "no conditions")
    if kind == "directory":
        store = DirectoryStore(str(tmp_path / "archive"), "cache-1")
    archive = filled(archive_on(store, clock))
    assert archive.reference_names(MANIFEST) == []
    assert archive.put_reference(MANIFEST, replace(KEPT, picture="/here.png"), PNG)
    reader = archive_on(store, clock, owner="cache-2")
    assert reader.reference_names(MANIFEST) == [NAME]
    assert reader.reference(MANIFEST, NAME) == (KEPT, PNG)


def test_keys_are_those_of_the_format(desk):
    desk.archive().put_reference(MANIFEST, KEPT, PNG)
    base = f"pictures/huggingface/model/acme%2Fpainter/{MANIFEST.id}"
    assert [info.key for info in desk.store.scan("pictures/")] == sorted(
        [f"{base}/{NAME}.json", f"{base}/{KEPT.picture_sha256}.png"]
    )


def test_the_picture_is_there_before_its_document(desk):
    desk.store.log.clear()
    desk.archive(prepared=False).put_reference(MANIFEST, KEPT, PNG)
    written = [key for operation, key in desk.store.log if operation in {"put", "create"}]
    assert written == [FILE, DOCUMENT]


def test_a_later_picture_of_the_same_conditions_never_takes_its_place(desk):
    archive = desk.archive()
    archive.put_reference(MANIFEST, KEPT, PNG)
    assert not archive.put_reference(MANIFEST, kept(b"other"), b"other")
    assert archive.reference(MANIFEST, NAME) == (KEPT, PNG)


def test_two_writers_of_one_moment_leave_one_that_holds_together():
    """Each sees nothing, and the store keeps no promise about conditional writes."""
    desk = Desk(ignores_conditions=True)
    filled(desk.archive())
    one, other = desk.archive(), desk.archive("cache-2")

    def the_other_first(operation, key):
        if (operation, key) == ("create", DOCUMENT):
            desk.store.before = lambda *_: None
            other.put_reference(MANIFEST, kept(b"other"), b"other")

    desk.store.before = the_other_first
    one.put_reference(MANIFEST, KEPT, PNG)
    assert one.reference(MANIFEST, NAME)[1] in {PNG, b"other"}


def test_a_snapshot_that_the_archive_does_not_have_gets_none(desk):
    assert not desk.archive().put_reference(OTHER, replace(KEPT, manifest_id=OTHER.id), PNG)
    assert list(desk.store.scan("pictures/")) == []


def test_no_more_are_kept_than_can_be_compared_with(desk):
    archive = desk.archive()
    put = [archive.put_reference(MANIFEST, kept(seed=seed), PNG) for seed in range(18)]
    assert put == [True] * MAX_REFERENCES + [False] * 2


def test_a_store_that_lists_very_many_is_not_listened_to(desk):
    for number in range(40):
        desk.store.put(picture_document(PLACE, f"{number:016x}"), b"{}")
    assert len(desk.archive().reference_names(MANIFEST)) == MAX_REFERENCES


def test_what_is_no_document_of_a_reference_is_passed_over(desk):
    for name in ("x.json", f"{NAME}.JSON", f"{NAME}.json/more", f"x{NAME}.json", f"{NAME[:-1]}.json"):
        desk.store.put(f"pictures/huggingface/model/acme%2Fpainter/{MANIFEST.id}/{name}", b"{}")
    assert desk.archive().reference_names(MANIFEST) == []


UNTRUSTED = {
    "no JSON": lambda store: store.put(DOCUMENT, b"{"),
    "another snapshot's": lambda store: store.put(DOCUMENT, encode_reference(replace(KEPT, manifest_id=OTHER.id))),
    "of other conditions": lambda store: store.put(DOCUMENT, encode_reference(kept(seed=7))),
    "too large": lambda store: store.put(DOCUMENT, b" " * 2**20),
    "another picture": lambda store: store.put(FILE, b"\x89PNG of a cat"),
    "too large a picture": lambda store: store.put(FILE, b" " * (MAX_PICTURE_BYTES + 1)),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_what_cannot_be_trusted_is_refused(desk, kind):
    archive = desk.archive()
    archive.put_reference(MANIFEST, KEPT, PNG)
    UNTRUSTED[kind](desk.store)
    with pytest.raises(StoreBroken):
        archive.reference(MANIFEST, NAME)


@pytest.mark.parametrize("kind", [kind for kind in UNTRUSTED if "picture" not in kind])
def test_a_document_that_cannot_be_trusted_is_replaced_the_picture_first(desk, kind):
    """It was there, so nothing ever took its place."""
    archive = desk.archive()
    archive.put_reference(MANIFEST, KEPT, PNG)
    assert archive.understands_reference(MANIFEST, NAME)
    UNTRUSTED[kind](desk.store)
    assert not archive.understands_reference(MANIFEST, NAME)
    desk.store.log.clear()
    later = kept(b"other")
    assert archive.put_reference(MANIFEST, later, b"other")
    written = [key for operation, key in desk.store.log if operation in {"put", "create"}]
    assert written == [picture_file(PLACE, later.picture_sha256), DOCUMENT]
    assert archive.reference(MANIFEST, NAME) == (later, b"other")
    assert not archive.put_reference(MANIFEST, KEPT, PNG)


def test_it_is_replaced_also_where_there_are_as_many_as_can_be(desk):
    archive = desk.archive()
    for seed in range(MAX_REFERENCES):
        archive.put_reference(MANIFEST, kept(seed=seed), PNG)
    name = name_of(kept(seed=3).conditions)
    desk.store.put(picture_document(PLACE, name), b"{")
    assert archive.put_reference(MANIFEST, kept(seed=3), PNG)
    assert archive.understands_reference(MANIFEST, name)


def test_no_picture_is_read_to_tell_whether_a_document_can_be_trusted(desk):
    archive = desk.archive()
    archive.put_reference(MANIFEST, KEPT, PNG)
    desk.store.log.clear()
    archive.understands_reference(MANIFEST, NAME)
    assert [key for operation, key in desk.store.log] == [DOCUMENT]


@pytest.mark.parametrize("key", [DOCUMENT, FILE])
def test_what_is_gone_is_missing(desk, key):
    archive = desk.archive()
    archive.put_reference(MANIFEST, KEPT, PNG)
    desk.store.delete(key)
    with pytest.raises(ObjectMissing):
        archive.reference(MANIFEST, NAME)


@pytest.mark.parametrize("name", ["", "..", "../../zimage-syncd", "A" * 16, "0" * 15])
def test_no_key_is_made_of_what_is_no_name(desk, name):
    with pytest.raises(UnsafePath):
        desk.archive().reference(MANIFEST, name)
    with pytest.raises(UnsafePath):
        picture_file(PLACE, name)


def test_readers_of_the_archive_are_not_disturbed(desk):
    desk.archive().put_reference(MANIFEST, KEPT, PNG)
    archive = desk.archive("cache-2")
    assert [stored.manifest_id for stored in archive.snapshots()] == [MANIFEST.id]
    assert list(archive.manifest_ids()) == [MANIFEST.id]
    assert len(list(archive.blobs())) == 1

"""Archives that somebody else wrote, or that rotted: refused with a name, never believed, never another error."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archives import Desk
from tests.support.manifests import key_of, manifest_with, upload
from zimage_syncd.model.failures import Failure, ManifestCorrupt, ManifestInvalid, NotInStore
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.snapshot import LayoutName, RepoType
from zimage_syncd.stores import archive_manifests
from zimage_syncd.stores.archive_keys import ManifestKey, RefKey

FILES = {"hub/models--acme--painter/blobs/one": b"one"}
MANIFEST = manifest_with(FILES, links={"hub/models--acme--painter/snapshots/c/x": "../../blobs/one"})
PLACE = ManifestKey(MANIFEST.key.layout, MANIFEST.key.repo, MANIFEST.id)


def published():
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    archive.publish(MANIFEST, ("main",), "gpu-7")
    return desk


def planted(desk, document, **place):
    """Puts a manifest that hashes to its id; gives the id."""
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    manifest_id = hashlib.sha256(data).hexdigest()
    desk.store.put(dataclasses.replace(PLACE, manifest_id=manifest_id, **place).key, data)
    return manifest_id


def document_of(manifest=MANIFEST):
    return json.loads(manifest.to_bytes())


@pytest.mark.parametrize("position", range(0, len(MANIFEST.to_bytes()), 37))
def test_one_flipped_bit_anywhere_in_a_manifest_is_found(position):
    desk = published()
    data = bytearray(MANIFEST.to_bytes())
    data[position] ^= 1
    desk.store.put(PLACE.key, bytes(data))
    with pytest.raises(ManifestCorrupt, match=MANIFEST.id):
        desk.archive("cache-2").manifest(MANIFEST.id)


@pytest.mark.parametrize("length", [0, 1, len(MANIFEST.to_bytes()) - 1])
def test_a_truncated_manifest_is_found_and_written_again_by_the_next_backup(length):
    desk = published()
    desk.store.put(PLACE.key, MANIFEST.to_bytes()[:length])
    with pytest.raises(ManifestCorrupt):
        desk.archive("cache-2").manifest(MANIFEST.id)
    desk.archive().publish(MANIFEST, ("main",), "gpu-7")
    assert desk.archive("cache-2").manifest(MANIFEST.id) == MANIFEST


def test_a_manifest_that_does_not_belong_where_it_lies_is_refused():
    for place in (
        {"layout": LayoutName.MODELSCOPE},
        {"repo": key_of("acme/other").repo},
        {"repo": key_of(kind=RepoType.DATASET).repo},
    ):
        desk = Desk()
        desk.archive()
        planted(desk, document_of(), **place)
        with pytest.raises(ManifestInvalid, match="under another name"):
            desk.archive().manifest(MANIFEST.id)


def test_a_copy_in_the_wrong_place_does_not_hide_the_right_one():
    desk = published()
    for name in ("aaa/first", "zzz/last"):
        planted(desk, document_of(), repo=key_of(name).repo)
    assert desk.archive().manifest(MANIFEST.id) == MANIFEST
    assert list(desk.archive().manifest_ids()) == [MANIFEST.id]


def test_paths_that_the_layout_does_not_know_are_refused():
    desk = Desk()
    manifest = manifest_with({"elsewhere/x": b"1"})
    archive = desk.archive()
    upload(archive, manifest, {"elsewhere/x": b"1"})
    archive.publish(manifest, ("main",), "gpu-7")
    with pytest.raises(ManifestInvalid, match="elsewhere/x"):
        archive.manifest(manifest.id)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "hub/../../x", "hub//x", "hub/./x", "hub/a\0b", "", "hub/token", ".zimage-syncd/lock", "a" * 5000],
)
def test_paths_that_could_do_harm_are_refused(path):
    desk = Desk()
    desk.archive()
    document = document_of()
    document["entries"] = [{"kind": "pointer", "path": path, "text": "x"}]
    manifest_id = planted(desk, document)
    with pytest.raises(ManifestInvalid):
        desk.archive().manifest(manifest_id)


def test_a_reference_to_a_manifest_that_is_not_there_is_no_manifest():
    desk = published()
    desk.store.delete(PLACE.key)
    archive = desk.archive("cache-2")
    assert [stored.manifest_id for stored in archive.snapshots()] == [MANIFEST.id]
    with pytest.raises(NotInStore, match=MANIFEST.id):
        archive.manifest(MANIFEST.id)


@pytest.mark.parametrize(
    "manifest_id", ["", "main", "../../../etc/passwd", "A" * 64, "0" * 64, "0" * 64 + "\n", "\ud800"]
)
def test_what_is_no_id_is_in_no_store(manifest_id):
    with pytest.raises(NotInStore):
        published().archive().manifest(manifest_id)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ref_keys = st.sampled_from(["manifest", "parent", "created_at", "host"])


@settings(deadline=None)
@given(st.dictionaries(ref_keys, json_values) | json_values)
def test_no_content_of_a_reference_raises_anything_but_a_failure(values):
    desk = published()
    key = RefKey(key_of(revision="main"), 2, MANIFEST.id).key
    if isinstance(values, dict):
        values = {"manifest": MANIFEST.id, "parent": None, "created_at": "2026-01-01T00:00:00Z", "host": "h"} | values
    desk.store.put(key, json.dumps(values).encode())
    stored = desk.archive().snapshots()
    assert stored[0].sequence == 2
    assert stored[0].manifest_id == MANIFEST.id
    assert stored[0].host.isprintable() or not stored[0].host


@settings(deadline=None)
@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_content_of_any_object_raises_anything_but_a_failure(data):
    for key in published().store.listed():
        desk = published()
        desk.store.put(key, data)
        archive = desk.archive("cache-2", prepared=False)
        try:
            archive.prepare()
            stored = archive.snapshots()
            assert isinstance(archive.manifest(stored[0].manifest_id), Manifest)
            assert all(blob.size_bytes == len(data) for blob in archive.blobs() if key.startswith("blobs/"))
        except Failure:
            continue
        assert key.startswith(("blobs/", "refs/")), "payload is not looked at, and a reference's key is enough"


@pytest.mark.parametrize("damage", ["none", "flipped", "truncated", "longer"])
def test_a_large_manifest_is_read_as_it_comes_and_damage_is_found(damage, monkeypatch):
    desk = published()
    data = bytearray(MANIFEST.to_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    desk.store.put(PLACE.key, bytes({"truncated": data[:-1], "longer": data + b" "}.get(damage, data)))
    monkeypatch.setattr(archive_manifests, "_SMALL_BYTES", 0)
    archive = desk.archive("cache-2")
    archive.snapshots()  # reads the marker, which is small
    monkeypatch.setattr(desk.store, "get", lambda key, _max_bytes: pytest.fail(f"{key} was read as a whole"))
    if damage == "none":
        assert archive.manifest(MANIFEST.id) == MANIFEST
    else:
        with pytest.raises(ManifestCorrupt, match=MANIFEST.id):
            archive.manifest(MANIFEST.id)


def test_a_large_manifest_that_was_written_again_is_read_anew(monkeypatch):
    desk = published()
    monkeypatch.setattr(archive_manifests, "_SMALL_BYTES", 0)
    archive = desk.archive("cache-2")
    desk.store.put(PLACE.key, MANIFEST.to_bytes()[:-1])
    with pytest.raises(ManifestCorrupt):
        archive.manifest(MANIFEST.id)
    desk.store.put(PLACE.key, MANIFEST.to_bytes())
    assert archive.manifest(MANIFEST.id) == MANIFEST
    desk.store.delete(PLACE.key)
    with pytest.raises(NotInStore):
        archive.manifest(MANIFEST.id)

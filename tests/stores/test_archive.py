"""Archives: what a backup writes can be read back, in the right order, and never refers to what is not there."""

from __future__ import annotations

import json

import pytest

from tests.support.archives import Desk, archive_on
from tests.support.bodies import PartBytes
from tests.support.manifests import file_entry, key_of, manifest_with, upload
from tests.support.object_store import ScriptedStore, fixed_clock
from zimage_syncd.model.failures import (
    BlobMissing,
    FormatUnknown,
    NotAnArchive,
    NotInStore,
    StoreBroken,
    StoreMissing,
    StoreUnreachable,
    UsageInvalid,
)
from zimage_syncd.model.manifest import CHUNK_BYTES, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import LayoutName, RepoType
from zimage_syncd.stores import archive_blobs
from zimage_syncd.stores.archive_keys import MARKER_KEY, blob_key
from zimage_syncd.stores.directory import DirectoryStore

FILES = {"hub/models--acme--painter/blobs/one": b"one" * 5, "hub/models--acme--painter/blobs/two": b""}
MANIFEST = manifest_with(
    FILES,
    links={"hub/models--acme--painter/snapshots/c/x": "../../blobs/one"},
    pointers={"hub/models--acme--painter/refs/main": "c"},
)
OTHER = manifest_with(FILES, key_of(revision="f" * 40))


@pytest.fixture(params=["memory", "no conditions", "directory"])
def place(request, tmp_path):
    """A store of each kind, and its clock."""
    clock = fixed_clock()
    if request.param == "directory":
        return DirectoryStore(str(tmp_path / "archive"), "cache-1"), clock
    return ScriptedStore(clock.now, ignores_conditions=request.param == "no conditions"), clock


def test_what_was_published_is_read_back(place):
    archive = archive_on(*place)
    archive.prepare()
    upload(archive, MANIFEST, FILES)
    published = archive.publish(MANIFEST, ("main", "refs/pr/1"), "gpu-7")
    reader = archive_on(*place, owner="cache-2")
    assert reader.snapshots() == published
    assert [(stored.name, stored.host, stored.sequence) for stored in published] == [
        ("main", "gpu-7", 1),
        ("refs/pr/1", "gpu-7", 1),
    ]
    assert reader.manifest(MANIFEST.id) == MANIFEST
    assert list(reader.manifest_ids()) == [MANIFEST.id]
    for entry in MANIFEST.files:
        data = b"".join(bytes(piece) for piece in reader.read(entry, 0, entry.size_bytes, memoryview(bytearray(4))))
        assert data == FILES[entry.path]


def test_an_archive_holds_what_the_format_says_and_nothing_else(place):
    store, _ = place
    archive = archive_on(*place)
    archive.prepare()
    upload(archive, MANIFEST, FILES)
    with archive.announce([]):
        archive.publish(MANIFEST, ("main",), "gpu-7")
    one, two = sorted(entry.sha256 for entry in MANIFEST.files)
    assert [info.key for info in store.scan("")] == [
        f"blobs/{one[:2]}/{one}",
        f"blobs/{two[:2]}/{two}",
        f"manifests/huggingface/model/acme%2Fpainter/{MANIFEST.id}.json",
        f"refs/huggingface/model/acme%2Fpainter/main/000000000001-{MANIFEST.id}.json",
        "zimage-syncd.json",
    ]


def test_a_range_is_read_and_nothing_around_it(place):
    archive = archive_on(*place)
    archive.prepare()
    data = bytes(range(256)) * 16
    entry = file_entry("hub/x", data)
    archive.put_blob(entry.sha256, data)
    pieces = [bytes(piece) for piece in archive.read(entry, 100, 1000, memoryview(bytearray(300)))]
    assert b"".join(pieces) == data[100:1100]
    assert max(map(len, pieces)) <= 300
    with pytest.raises(StoreBroken):
        list(archive.read(entry, 4000, 200, memoryview(bytearray(300))))


def test_blobs_come_first_the_manifest_second_references_last():
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    archive.publish(MANIFEST, ("main",), "gpu-7")
    written = [key.split("/")[0] for operation, key in desk.store.log if operation in {"put", "create"}]
    assert written == [MARKER_KEY, "blobs", "blobs", "manifests", "refs"]


@pytest.mark.parametrize("wrong", ["missing", "shorter"])
def test_nothing_refers_to_a_blob_that_is_not_there(wrong):
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    victim = MANIFEST.files[0]
    if wrong == "missing":
        desk.store.delete(blob_key(victim.sha256))
    else:
        desk.store.put(blob_key(victim.sha256), b"on")
    before = desk.store.listed()
    with pytest.raises(BlobMissing) as failure:
        archive.publish(MANIFEST, ("main",), "gpu-7")
    assert victim.path in str(failure.value)
    assert desk.store.listed() == before


def test_many_missing_blobs_are_counted():
    archive = Desk().archive()
    files = {f"hub/f{number}": bytes([number]) for number in range(9)}
    with pytest.raises(BlobMissing, match=r"\(and 6 more\)"):
        archive.publish(manifest_with(files), ("main",), "gpu-7")


MANY = {f"hub/models--acme--painter/blobs/f{number}": b"%d" % number for number in range(600)}


def test_many_blobs_are_looked_for_in_one_listing_and_not_one_by_one():
    """100,000 questions, twice a backup, took minutes where a listing takes 100 requests."""
    desk = Desk()
    archive = desk.archive()
    many = manifest_with(MANY)
    upload(archive, many, MANY)
    desk.store.calls.clear()
    desk.store.log.clear()

    archive.publish(many, ("main",), "gpu-7")

    assert desk.store.calls["head"] < 10
    assert desk.store.log.count(("scan", "blobs/")) == 2  # before the reference is written, and after


def test_in_a_much_larger_archive_a_listing_ends_and_questions_follow(monkeypatch):
    monkeypatch.setattr(archive_blobs, "_LISTED_AT_MOST", 0)
    desk = Desk()
    archive = desk.archive()
    many = manifest_with(MANY)
    upload(archive, many, MANY)

    archive.publish(many, ("main",), "gpu-7")

    assert archive.snapshots()[0].manifest_id == many.id


@pytest.mark.parametrize("wrong", ["missing", "shorter"])
def test_one_of_many_blobs_that_is_not_there_is_noticed(wrong):
    desk = Desk()
    archive = desk.archive()
    many = manifest_with(MANY)
    upload(archive, many, MANY)
    victim = many.files[77]
    if wrong == "missing":
        desk.store.delete(blob_key(victim.sha256))
    else:
        desk.store.put(blob_key(victim.sha256), b"")

    with pytest.raises(BlobMissing, match=victim.path):
        archive.publish(many, ("main",), "gpu-7")


def test_a_blob_that_a_listing_does_not_give_yet_is_asked_for(monkeypatch):
    desk = Desk()
    archive = desk.archive()
    many = manifest_with(MANY)
    upload(archive, many, MANY)
    whole = desk.store.scan
    monkeypatch.setattr(desk.store, "scan", lambda prefix: iter(list(whole(prefix))[3 if prefix == "blobs/" else 0 :]))

    archive.publish(many, ("main",), "gpu-7")

    assert archive.snapshots()[0].manifest_id == many.id


def test_a_blob_that_vanishes_before_the_reference_was_there_is_noticed():
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    victim = MANIFEST.files[0]

    def prune(operation, key):
        if operation == "create" and key.startswith("refs/"):
            desk.store.delete(blob_key(victim.sha256))

    desk.store.before = prune
    with pytest.raises(BlobMissing, match=victim.sha256):
        archive.publish(MANIFEST, ("main",), "gpu-7")


def test_an_unchanged_snapshot_writes_nothing():
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    first = archive.publish(MANIFEST, ("main",), "gpu-7")
    desk.clock.move(3600)
    writes = desk.store.calls["put"] + desk.store.calls["create"]
    upload(archive, MANIFEST, FILES)
    assert archive.publish(MANIFEST, ("main",), "gpu-8") == first
    assert desk.store.calls["put"] + desk.store.calls["create"] == writes


def test_a_new_name_of_a_known_snapshot_writes_a_reference_only():
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    archive.publish(MANIFEST, ("main",), "gpu-7")
    writes = desk.store.calls["put"] + desk.store.calls["create"]
    archive.publish(MANIFEST, ("main", "v1"), "gpu-7")
    assert desk.store.calls["put"] + desk.store.calls["create"] == writes + 1


def test_the_history_of_a_name_is_kept_newest_first():
    desk = Desk()
    archive = desk.archive()
    upload(archive, MANIFEST, FILES)
    for manifest in (MANIFEST, OTHER, MANIFEST):
        archive.publish(manifest, ("main",), "gpu-7")
        desk.clock.move(60)
    history = archive.history(LayoutName.HUGGINGFACE, MANIFEST.key.repo, "main")
    assert [(stored.sequence, stored.manifest_id) for stored in history] == [
        (3, MANIFEST.id),
        (2, OTHER.id),
        (1, MANIFEST.id),
    ]
    assert history[0].created_at > history[2].created_at
    assert archive.snapshots() == history[:1]


def test_a_snapshot_without_names_goes_by_its_revision():
    archive = Desk().archive()
    upload(archive, MANIFEST, FILES)
    assert [stored.name for stored in archive.publish(MANIFEST, (), "gpu-7")] == [MANIFEST.key.revision]


def test_a_model_and_a_dataset_of_one_name_and_all_layouts_stay_apart():
    archive = Desk().archive()
    keys = [key_of("acme/x", "r", layout, kind) for layout in LayoutName for kind in RepoType]
    manifests = [manifest_with({f"hub/{number}": b""}, key) for number, key in enumerate(keys)]
    for manifest in manifests:
        upload(archive, manifest, {manifest.entries[0].path: b""})
        archive.publish(manifest, ("main",), "gpu-7")
    stored = archive.snapshots()
    assert [(one.layout, one.repo) for one in stored] == sorted((key.layout, key.repo) for key in keys)
    assert {one.manifest_id for one in stored} == {manifest.id for manifest in manifests}
    assert len(list(archive.blobs())) == 1, "equal bytes are stored once"


def test_a_known_blob_is_not_written_again_and_a_torn_one_is():
    desk = Desk()
    archive = desk.archive()
    entry = file_entry("hub/x", b"12345")
    archive.put_blob(entry.sha256, b"12345")
    archive.put_blob(entry.sha256, b"12345")
    assert desk.store.calls["put"] == 1
    desk.store.put(blob_key(entry.sha256), b"12")
    archive.put_blob(entry.sha256, b"12345")
    assert archive.blob(entry.sha256).size_bytes == 5


def test_a_large_blob_appears_when_its_upload_is_completed():
    archive = Desk().archive()
    data = b"z" * (CHUNK_BYTES + 5)
    entry = file_entry("hub/x", data)
    begun = archive.begin_blob(entry.sha256, len(data))
    for number, start in enumerate(range(0, len(data), begun.part_bytes), 1):
        begun.put_part(number, PartBytes(data[start : start + begun.part_bytes]))
    assert archive.blob(entry.sha256) is None
    begun.complete()
    assert archive.blob(entry.sha256).size_bytes == len(data)


def test_a_missing_blob_is_named_with_its_file():
    archive = Desk().archive()
    entry = file_entry("hub/weights", b"12345")
    assert archive.blob(entry.sha256) is None
    with pytest.raises(BlobMissing, match="hub/weights"):
        list(archive.read(entry, 0, 5, memoryview(bytearray(5))))


def test_foreign_objects_among_blobs_are_not_blobs():
    desk = Desk()
    archive = desk.archive()
    for key in ("blobs/README", f"blobs/aa/{'b' * 64}", f"blobs/bb/{'b' * 63}", f"blobs/bb/x/{'b' * 64}"):
        desk.store.put(key, b"x")
    assert list(archive.blobs()) == []


def test_ids_are_found_by_their_beginning():
    archive = Desk().archive()
    upload(archive, MANIFEST, FILES)
    for manifest in (MANIFEST, OTHER):
        archive.publish(manifest, ("main",), "gpu-7")
    assert archive.find_ids(MANIFEST.id[:8]) == [MANIFEST.id]
    assert archive.find_ids(MANIFEST.id) == [MANIFEST.id]
    assert archive.find_ids("0" * 63) == []
    for bad in ("", MANIFEST.id[:7], "g" * 8, "A" * 8, "0" * 65, "../../.."):
        with pytest.raises(UsageInvalid):
            archive.find_ids(bad)


def test_a_manifest_that_another_host_wrote_later_is_found():
    desk = Desk()
    reader = desk.archive()
    with pytest.raises(NotInStore):
        reader.manifest(MANIFEST.id)
    writer = desk.archive("cache-2")
    upload(writer, MANIFEST, FILES)
    writer.publish(MANIFEST, ("main",), "gpu-7")
    assert reader.manifest(MANIFEST.id) == MANIFEST


def test_files_of_a_directory_may_be_linked_and_objects_may_not(tmp_path):
    directory = DirectoryStore(str(tmp_path / "archive"), "cache-1")
    archive = archive_on(directory, fixed_clock())
    archive.prepare()
    entry = file_entry("hub/x", b"12345")
    assert archive.local_path(entry) is None
    archive.put_blob(entry.sha256, b"12345")
    assert archive.modes() == {LinkMode.HARDLINK, LinkMode.REFLINK}
    assert archive.local_path(entry) == str(tmp_path / "archive" / blob_key(entry.sha256))
    directory.put(blob_key(entry.sha256), b"torn")
    assert archive.local_path(entry) is None
    in_memory = Desk().archive()
    in_memory.put_blob(entry.sha256, b"12345")
    assert in_memory.modes() == frozenset()
    assert in_memory.local_path(entry) is None


class TestMarker:
    def test_the_first_backup_makes_the_archive_and_the_second_leaves_it(self):
        desk = Desk()
        desk.archive()
        document = json.loads(desk.store.get(MARKER_KEY, 1000))
        assert document == {"format": 1, "tool": "zimage-syncd", "created_at": "2026-11-24T03:00:00Z"}
        desk.clock.move(60)
        desk.archive("cache-2")
        assert json.loads(desk.store.get(MARKER_KEY, 1000)) == document
        assert desk.store.calls["create"] == 1

    def test_only_a_backup_makes_a_directory_and_never_its_parents(self, tmp_path):
        root = tmp_path / "disk" / "archive"
        archive = archive_on(DirectoryStore(str(root), "cache-1"), fixed_clock())
        with pytest.raises(StoreMissing):
            archive.snapshots()
        with pytest.raises(StoreMissing):
            archive.prepare()
        assert list(tmp_path.iterdir()) == []
        root.parent.mkdir()
        with pytest.raises(NotAnArchive, match="first backup"):
            archive.snapshots()
        assert list(root.parent.iterdir()) == []
        archive.prepare()
        assert (root / MARKER_KEY).is_file()

    def test_readers_and_writers_refuse_what_is_no_archive(self):
        desk = Desk()
        archive = desk.archive(prepared=False)
        entry = file_entry("hub/x", b"12345")
        for call in (
            archive.snapshots,
            lambda: archive.history(LayoutName.HUGGINGFACE, MANIFEST.key.repo, "main"),
            lambda: archive.manifest(MANIFEST.id),
            archive.manifest_ids,
            archive.blobs,
            lambda: archive.find_ids("0" * 8),
            lambda: archive.put_blob(entry.sha256, b"12345"),
            lambda: archive.begin_blob(entry.sha256, 5),
            lambda: archive.announce([]),
            lambda: archive.publish(MANIFEST, ("main",), "gpu-7"),
        ):
            with pytest.raises(NotAnArchive, match=MARKER_KEY):
                call()
        assert desk.store.listed() == []

    @pytest.mark.parametrize(
        "marker",
        [
            b'{"format": 2, "tool": "zimage-syncd"}',
            b'{"format": "1", "tool": "zimage-syncd"}',
            b'{"format": 1.0, "tool": "zimage-syncd"}',
            b'{"format": true, "tool": "zimage-syncd"}',
            b'{"format": 1, "tool": "restic"}',
            b"{}",
        ],
    )
    def test_another_format_is_refused_and_left_alone(self, marker):
        desk = Desk()
        desk.store.put(MARKER_KEY, marker)
        archive = desk.archive(prepared=False)
        for call in (archive.prepare, archive.snapshots):
            with pytest.raises(FormatUnknown):
                call()
        assert desk.store.get(MARKER_KEY, 1000) == marker
        assert desk.store.listed() == [MARKER_KEY]

    @pytest.mark.parametrize("marker", [b"", b"[]", b"\xff", b"{" * 5000, b" " * 100_000])
    def test_a_marker_that_cannot_be_understood_is_refused(self, marker):
        desk = Desk()
        desk.store.put(MARKER_KEY, marker)
        for call in (desk.archive(prepared=False).prepare, desk.archive(prepared=False).snapshots):
            with pytest.raises(StoreBroken):
                call()

    def test_later_additions_to_the_marker_are_passed_over(self):
        desk = Desk()
        desk.store.put(MARKER_KEY, b'{"format": 1, "tool": "zimage-syncd", "hint": [1]}')
        assert desk.archive().snapshots() == []

    @pytest.mark.parametrize("taken", ["blobs/README", "refs/main", "manifests/x", ".zimage-syncd/identity.json"])
    def test_no_archive_is_made_over_something_else(self, taken):
        desk = Desk()
        desk.store.put(taken, b"x")
        with pytest.raises(FormatUnknown, match=taken.split("/")[-1]):
            desk.archive()
        assert desk.store.listed() == [taken]

    def test_unrelated_objects_do_not_hinder(self):
        desk = Desk()
        desk.store.put("photos/cat.png", b"x")
        desk.archive()
        assert desk.store.listed() == ["photos/cat.png", MARKER_KEY]

    def test_an_archive_that_another_host_makes_and_fills_meanwhile_is_taken(self):
        desk = Desk()

        def other(operation, key):
            if operation == "scan" and key == "blobs/":
                desk.store.before = lambda _operation, _key: None
                upload(desk.archive("cache-2"), MANIFEST, FILES)

        desk.store.before = other
        assert desk.archive().snapshots() == []

    def test_an_unreachable_store_is_not_a_missing_archive(self):
        desk = Desk()
        archive = desk.archive(prepared=False)
        desk.store.failing["get"] = StoreUnreachable("bucket", "no route")
        for call in (archive.prepare, archive.snapshots):
            with pytest.raises(StoreUnreachable):
                call()


def test_manifests_survive_hostile_names(place):
    key = key_of("acme/x.y_z-1", "ветка/%2F..ü", LayoutName.MODELSCOPE)
    files = {"models/acme--x/snapshots/a b%2F/\udcff": b"1", "models/acme--x/snapshots/ü": b"2"}
    manifest = manifest_with(files, key)
    archive = archive_on(*place)
    archive.prepare()
    upload(archive, manifest, files)
    archive.publish(manifest, (), "gpu-7")
    stored = archive.snapshots()
    assert [one.name for one in stored] == [key.revision]
    read = archive.manifest(stored[0].manifest_id)
    assert read == manifest
    assert isinstance(read, Manifest)
    assert isinstance(read.entries[0].path, RelPath)

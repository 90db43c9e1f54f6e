"""Archives over every real object store: names, races and unfinished uploads as they really are there."""

from __future__ import annotations

import hashlib
import threading

from tests.support.archives import archive_on
from tests.support.manifests import file_entry, key_of, manifest_with, upload
from tests.support.object_store import fixed_clock
from zimage_syncd.model.snapshot import LayoutName, RepoType

FILES = {"hub/models--acme--painter/blobs/one": b"one" * 5, "hub/models--acme--painter/blobs/two": b""}
NAMES = ("main", "refs/pr/1", "50%", "ветка/ü", "..", "a b+c&d")


def test_hostile_names_come_back_and_kinds_stay_apart(store):
    archive = archive_on(store, fixed_clock())
    archive.prepare()
    manifests = [manifest_with(FILES, key_of(kind=kind)) for kind in (RepoType.MODEL, RepoType.DATASET)]
    for manifest in manifests:
        upload(archive, manifest, FILES)
        archive.publish(manifest, NAMES, "gpu-7")
    reader = archive_on(store, fixed_clock(), owner="cache-2")
    found = {(one.repo.type, one.name): one.manifest_id for one in reader.snapshots()}
    assert found == {(manifest.key.repo.type, name): manifest.id for manifest in manifests for name in NAMES}
    for manifest in manifests:
        assert reader.manifest(manifest.id) == manifest
    for entry in manifests[0].files:
        pieces = [bytes(piece) for piece in reader.read(entry, 0, entry.size_bytes, memoryview(bytearray(4)))]
        assert b"".join(pieces) == FILES[entry.path]


def test_writers_at_one_moment_all_end_in_the_history_and_agree(store):
    archive_on(store, fixed_clock()).prepare()
    manifests = [manifest_with(FILES, key_of(revision=f"{number:040}")) for number in range(4)]
    barrier = threading.Barrier(len(manifests))
    errors = []

    def publish(manifest, owner):
        try:
            archive = archive_on(store, fixed_clock(), owner)
            archive.prepare()  # which may sweep what this store's owner left, so nobody writes meanwhile
            barrier.wait(30)
            upload(archive, manifest, FILES)
            barrier.wait(30)
            archive.publish(manifest, ("main",), owner)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=publish, args=(manifest, f"writer-{number}"))
        for number, manifest in enumerate(manifests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    histories = [
        archive_on(store, fixed_clock(), owner).history(LayoutName.HUGGINGFACE, manifests[0].key.repo, "main")
        for owner in ("one", "two")
    ]
    assert histories[0] == histories[1]
    assert {stored.manifest_id for stored in histories[0]} == {manifest.id for manifest in manifests}
    assert archive_on(store, fixed_clock()).snapshots() == histories[0][:1]


def test_an_upload_that_a_crash_left_is_given_up_by_its_id(store):
    archive = archive_on(store, fixed_clock())
    archive.prepare()
    sha256 = hashlib.sha256(b"large").hexdigest()
    begun = archive.begin_blob(sha256, 20 * 2**20)
    archive.abort_uploads(sha256, begun.id)
    assert store.open_uploads("") == []
    assert archive.abort_uploads(sha256, begun.id) == 0
    assert archive.abort_uploads(sha256, None) == 0
    assert archive.blob(sha256) is None


def test_announcing_leaves_nothing_behind(store):
    archive = archive_on(store, fixed_clock())
    archive.prepare()
    entry = file_entry("hub/x", b"12345")
    with archive.announce([entry.sha256]) as intent:
        intent.renew()
        assert len(list(store.scan("intents/"))) == 1
    assert list(store.scan("intents/")) == []

"""Cache trees: what lies on a shared mount is listed without hashing, read without following links, never trusted."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.archives import owns
from tests.support.caches import COMMIT, etag_of, hf_snapshot, modelscope_snapshot
from tests.support.manifests import file_entry, key_of, manifest_with
from tests.support.object_store import fixed_clock
from zimage_syncd.layouts.registry import all_layouts
from zimage_syncd.model.failures import (
    BlobMissing,
    FileChanging,
    FileDamaged,
    ManifestCorrupt,
    NotInStore,
    Stopped,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import CHUNK_BYTES, Proof
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.snapshot import LayoutName, RepoId
from zimage_syncd.stores.archive_keys import ManifestKey
from zimage_syncd.stores.archive_manifests import Manifests
from zimage_syncd.stores.archive_refs import Refs
from zimage_syncd.stores.beneath import open_beneath
from zimage_syncd.stores.cache_tree import CacheTree
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.stores.tree_files import TreeFiles

HEADER = b'{"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}   '
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"weights!"
FILES = {"model.safetensors": WEIGHTS, "config.json": b'{"model_type": "painter"}'}
REPO = RepoId.parse("org/name")


class Tree:
    """A cache tree in a directory."""

    def __init__(self, root):
        self.root = root
        root.mkdir()

    def open(self):
        records = DirectoryStore(str(self.root / ".zimage-syncd"), "reader")
        return CacheTree("shared", str(self.root), all_layouts(), records)

    def record(self, manifest, *names):
        """Writes records, as a program that publishes to the tree does."""
        records = DirectoryStore(str(self.root / ".zimage-syncd"), "writer")
        records.make()
        Manifests(records, owns).save(manifest)
        for name in names:
            key = key_of(manifest.key.repo.name, name, manifest.key.layout)
            Refs(records).append(key, manifest.id, "gpu-7", fixed_clock().now())

    def weights(self):
        return self.root / "hub/models--org--name/blobs" / hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "tree")


def read_all(source, entry):
    return b"".join(bytes(piece) for piece in source.read(entry, 0, entry.size_bytes, memoryview(bytearray(7))))


def found(source):
    return [(one.layout, str(one.repo), one.name, one.manifest_id, one.sequence) for one in source.snapshots()]


class TestListing:
    def test_what_somebody_copied_there_is_listed_without_reading_it(self, tree):
        hf_snapshot(tree.root, FILES, refs=("main", "refs/pr/1"))
        assert found(tree.open()) == [
            (LayoutName.HUGGINGFACE, "org/name", "main", "", 0),
            (LayoutName.HUGGINGFACE, "org/name", "refs/pr/1", "", 0),
        ]

    def test_the_time_of_what_is_unrecorded_is_that_of_its_directory(self, tree):
        base = hf_snapshot(tree.root, FILES)
        os.utime(base / "snapshots" / COMMIT, (1_000_000, 1_000_000))
        assert tree.open().snapshots()[0].created_at.timestamp() == 1_000_000

    def test_incomplete_snapshots_are_not_offered(self, tree):
        base = hf_snapshot(tree.root, FILES)
        (base / "snapshots" / COMMIT / "model.safetensors").unlink()
        tree.weights().unlink()
        assert found(tree.open()) == []

    def test_what_was_recorded_counts(self, tree):
        hf_snapshot(tree.root, FILES, refs=("main", "dev"))
        source = tree.open()
        manifest = source.manifest_of(source.snapshots()[0], lambda _count: None)
        tree.record(manifest, "main")
        assert found(tree.open()) == [
            (LayoutName.HUGGINGFACE, "org/name", "dev", "", 0),
            (LayoutName.HUGGINGFACE, "org/name", "main", manifest.id, 1),
        ]
        assert tree.open().manifest(manifest.id) == manifest

    def test_the_history_of_a_name_is_what_was_recorded_else_what_lies_there(self, tree):
        modelscope_snapshot(tree.root, FILES | {"model_index.json": b"{}"})
        first = manifest_with({"models/org--name/snapshots/master/config.json": b"1"}, ms_key())
        second = manifest_with({"models/org--name/snapshots/master/config.json": b"2"}, ms_key())
        hf_snapshot(tree.root, FILES)
        tree.record(first, "master")
        tree.record(second, "master")
        source = tree.open()
        history = source.history(LayoutName.MODELSCOPE, REPO, "master")
        assert [one.manifest_id for one in history] == [second.id, first.id]
        unrecorded = source.history(LayoutName.HUGGINGFACE, REPO, "main")
        assert [(one.manifest_id, one.sequence) for one in unrecorded] == [("", 0)]
        assert source.history(LayoutName.HUGGINGFACE, REPO, "other") == []

    def test_an_empty_tree_holds_nothing(self, tree):
        assert found(tree.open()) == []
        assert list(tree.root.iterdir()) == [], "and nothing is written to it"

    def test_a_tree_that_is_not_there_is_missing(self, tree):
        tree.root.rmdir()
        source = tree.open()
        for call in (
            source.snapshots,
            lambda: source.manifest("0" * 64),
            lambda: source.history(LayoutName.HUGGINGFACE, REPO, "main"),
            lambda: read_all(source, file_entry("hub/x", b"1")),
        ):
            with pytest.raises(StoreMissing, match="mounted"):
                call()

    def test_a_file_in_its_place_is_no_tree(self, tree):
        tree.root.rmdir()
        tree.root.write_text("x")
        with pytest.raises(StoreMissing):
            tree.open().snapshots()


def ms_key():
    return key_of("org/name", "master", LayoutName.MODELSCOPE)


class TestRecording:
    def test_hashing_gives_a_manifest_of_the_tree_as_it_is(self, tree):
        hf_snapshot(tree.root, FILES)
        source = tree.open()
        counted = []
        manifest = source.manifest_of(source.snapshots()[0], counted.append)
        assert manifest.proof is Proof.PROVED
        assert sum(counted) == sum(map(len, FILES.values()))
        expected = {
            file_entry(f"hub/models--org--name/blobs/{etag_of(name, data)}", data).sha256
            for name, data in FILES.items()
        }
        assert {entry.sha256 for entry in manifest.files} == expected
        assert source.manifest(manifest.id) is manifest
        for entry in manifest.files:
            assert hashlib.sha256(read_all(source, entry)).hexdigest() == entry.sha256

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    def test_a_damaged_file_is_named(self, tree, name):
        base = hf_snapshot(tree.root, FILES)
        victim = base / "blobs" / etag_of(name, FILES[name])
        data = bytearray(victim.read_bytes())
        data[-1] ^= 4
        victim.write_bytes(data)
        source = tree.open()
        with pytest.raises(FileDamaged, match=victim.name):
            source.manifest_of(source.snapshots()[0], lambda _count: None)

    def test_the_caller_can_stop_it(self, tree):
        hf_snapshot(tree.root, FILES)
        source = tree.open()

        def stop(_count):
            raise Stopped("test")

        with pytest.raises(Stopped):
            source.manifest_of(source.snapshots()[0], stop)

    def test_a_file_that_is_written_meanwhile_is_not_recorded(self, tree):
        hf_snapshot(tree.root, FILES)
        source = tree.open()

        def write(_count):
            with open(tree.weights(), "ab") as file:
                file.write(b"more")

        with pytest.raises(FileChanging, match=tree.weights().name):
            source.manifest_of(source.snapshots()[0], write)

    def test_what_went_away_is_in_no_store(self, tree):
        base = hf_snapshot(tree.root, FILES)
        source = tree.open()
        stored = source.snapshots()[0]
        base.rename(tree.root / "gone")
        with pytest.raises(NotInStore):
            source.manifest_of(stored, lambda _count: None)

    def test_what_was_recorded_is_not_hashed(self, tree):
        hf_snapshot(tree.root, FILES)
        source = tree.open()
        manifest = source.manifest_of(source.snapshots()[0], lambda _count: None)
        tree.record(manifest, "main")
        tree.weights().write_bytes(b"")

        def nothing_is_read(_count):
            raise AssertionError

        source = tree.open()
        stored = next(one for one in source.snapshots() if one.manifest_id)
        assert source.manifest_of(stored, nothing_is_read) == manifest

    def test_records_are_checked(self, tree):
        hf_snapshot(tree.root, FILES)
        source = tree.open()
        manifest = source.manifest_of(source.snapshots()[0], lambda _count: None)
        tree.record(manifest, "main")
        key = ManifestKey(manifest.key.layout, manifest.key.repo, manifest.id).key
        (tree.root / ".zimage-syncd" / key).write_bytes(manifest.to_bytes().replace(b"proved", b"shaved"))
        with pytest.raises(ManifestCorrupt):
            tree.open().manifest(manifest.id)

    def test_without_records_no_id_is_known(self, tree):
        for manifest_id in ("", "0" * 64, "../../etc/passwd"):
            with pytest.raises(NotInStore):
                tree.open().manifest(manifest_id)

    def test_the_cache_s_own_last_good_manifests_are_no_records(self, tree):
        hf_snapshot(tree.root, FILES)
        shelf = tree.root / ".zimage-syncd/manifests/huggingface/model/org%2Fname"
        shelf.mkdir(parents=True)
        (shelf / f"{COMMIT}.json").write_text("{}")
        assert found(tree.open()) == [(LayoutName.HUGGINGFACE, "org/name", "main", "", 0)]


class TestReading:
    def test_any_range_is_read(self, tree):
        data = bytes(range(256)) * 10
        (tree.root / "hub").mkdir()
        (tree.root / "hub/x").write_bytes(data)
        entry = file_entry("hub/x", data)
        pieces = [bytes(piece) for piece in tree.open().read(entry, 250, 1000, memoryview(bytearray(300)))]
        assert b"".join(pieces) == data[250:1250]
        assert max(map(len, pieces)) <= 300

    def test_names_that_are_not_unicode_are_read(self, tree):
        path = "hub/\udcff\n ü"
        (tree.root / "hub").mkdir()
        (tree.root / path).write_bytes(b"odd")
        assert read_all(tree.open(), file_entry(path, b"odd")) == b"odd"

    def test_a_missing_file_is_a_missing_blob(self, tree):
        for path in ("hub/x", "x", "hub/deep/er/x"):
            with pytest.raises(BlobMissing, match=path):
                read_all(tree.open(), file_entry(path, b"12345"))

    def test_a_truncated_file_gives_what_it_has_and_says_so(self, tree):
        (tree.root / "x").write_bytes(b"123")
        source = tree.open()
        entry = file_entry("x", b"12345")
        assert b"".join(bytes(piece) for piece in source.read(entry, 0, 3, memoryview(bytearray(9)))) == b"123"
        with pytest.raises(StoreBroken, match="ends at 3 bytes, expected 5"):
            read_all(source, entry)

    @pytest.mark.parametrize("where", ["file", "directory", "out of the tree"])
    def test_no_link_is_followed(self, tree, where):
        outside = tree.root.parent / "secret"
        outside.mkdir()
        (outside / "x").write_bytes(b"12345")
        (tree.root / "real").mkdir()
        (tree.root / "real/x").write_bytes(b"12345")
        (tree.root / "hub").mkdir()
        if where == "file":
            (tree.root / "hub/x").symlink_to("../real/x")
        else:
            (tree.root / "hub").rmdir()
            (tree.root / "hub").symlink_to(outside if where == "out of the tree" else "real")
        entry = file_entry("hub/x", b"12345")
        with pytest.raises(BlobMissing, match="link"):
            read_all(tree.open(), entry)
        assert tree.open().local_path(entry) is None

    def test_what_is_no_file_is_not_read(self, tree):
        (tree.root / "directory").mkdir()
        os.mkfifo(tree.root / "fifo")
        for path in ("directory", "fifo", "fifo/below"):
            with pytest.raises(BlobMissing):
                read_all(tree.open(), file_entry(path, b"12345"))

    def test_the_tree_itself_may_be_reached_through_a_link(self, tree):
        (tree.root / "x").write_bytes(b"12345")
        link = tree.root.parent / "link"
        link.symlink_to(tree.root)
        source = CacheTree("shared", str(link), all_layouts(), DirectoryStore(str(link / ".zimage-syncd"), "reader"))
        assert read_all(source, file_entry("x", b"12345")) == b"12345"

    def test_no_descriptor_stays_open(self, tree):
        (tree.root / "hub").mkdir()
        (tree.root / "hub/x").write_bytes(b"1" * 100)
        os.mkfifo(tree.root / "hub/fifo")
        before = len(os.listdir("/proc/self/fd"))
        half_read = tree.open().read(file_entry("hub/x", b"1" * 100), 0, 100, memoryview(bytearray(9)))
        next(half_read)
        half_read.close()
        for path in ("hub/fifo", "hub/none", "hub/x/below"):
            with contextlib.suppress(OSError):
                os.close(open_beneath(str(tree.root), RelPath(path)))
        assert len(os.listdir("/proc/self/fd")) == before

    def test_files_may_arrive_in_every_way(self, tree):
        (tree.root / "x").write_bytes(b"12345")
        source = tree.open()
        assert source.modes() == {LinkMode.SYMLINK, LinkMode.HARDLINK, LinkMode.REFLINK, LinkMode.COPY}
        assert source.local_path(file_entry("x", b"12345")) == str(tree.root / "x")
        assert source.local_path(file_entry("x", b"1234")) is None
        assert source.local_path(file_entry("y", b"12345")) is None


class TestErrors:
    @pytest.mark.parametrize(
        ("number", "failure"),
        [
            (errno.ESTALE, StoreUnreachable),
            (errno.EIO, StoreUnreachable),
            (errno.ENOTCONN, StoreUnreachable),
            (errno.ETIMEDOUT, StoreUnreachable),
            (errno.EACCES, StoreDenied),
            (errno.EPERM, StoreDenied),
            (errno.ENOENT, BlobMissing),
            (errno.ELOOP, BlobMissing),
            (errno.EMFILE, StoreBroken),
        ],
    )
    def test_what_a_mount_says_is_told_apart(self, tree, number, failure):
        files = TreeFiles(str(tree.root))
        with pytest.raises(failure, match="hub/x"), files.translated("hub/x"):
            raise OSError(number, os.strerror(number))

    def test_what_may_not_be_read_is_denied(self):
        with tempfile.TemporaryDirectory() as directory:  # pytest's own are closed to other users
            os.chmod(directory, 0o755)
            tree = Tree(Path(directory) / "tree")
            (tree.root / "x").write_bytes(b"12345")
            (tree.root / "x").chmod(0)
            (tree.root / "hub").mkdir(mode=0)
            with as_another_user():
                for path in ("x", "hub/x"):
                    with pytest.raises(StoreDenied, match=path):
                        read_all(tree.open(), file_entry(path, b"12345"))
            tree.root.chmod(0)
            with as_another_user(), pytest.raises(StoreDenied, match=str(tree.root)):
                tree.open().snapshots()
            tree.root.chmod(0o700)


@contextlib.contextmanager
def as_another_user():
    """Root may read everything, so it becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_of_several_chunks_are_recorded_by_chunk(tree):
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (CHUNK_BYTES, CHUNK_BYTES)
    data = len(header).to_bytes(8, "little") + header + b"\7" * CHUNK_BYTES
    hf_snapshot(tree.root, {"model.safetensors": data, "config.json": b"{}"})
    source = tree.open()
    manifest = source.manifest_of(source.snapshots()[0], lambda _count: None)
    entry = max(manifest.files, key=lambda file: file.size_bytes)
    assert entry.chunks == file_entry(entry.path, data).chunks
    assert len(entry.chunks) == 2

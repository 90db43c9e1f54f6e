"""What belongs to a snapshot in Hugging Face's cache, and what never does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.caches import COMMIT, etag_of, hf_snapshot
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.layouts.registry import layout_of
from zimage_syncd.model.failures import UsageInvalid
from zimage_syncd.model.manifest import FileEntry, Manifest, PointerEntry, Proof
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import (
    Complete,
    DigestAlgorithm,
    ExpectedDigest,
    Incomplete,
    LayoutName,
    LocalLink,
    LocalPointer,
    RepoId,
    RepoType,
    SnapshotKey,
)

OTHER = "f" * 40
WEIGHTS = safetensors_bytes({"w": b"x" * 64})
FILES = {"config.json": b"{}", "sub/model.safetensors": WEIGHTS}
KEY = SnapshotKey(LayoutName.HUGGINGFACE, RepoId(RepoType.MODEL, "org/name"), COMMIT)
LAYOUT = layout_of(LayoutName.HUGGINGFACE)


def test_a_snapshot_is_its_blobs_its_links_and_its_pointers(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES)
    (base / ".no_exist" / COMMIT / "sub").mkdir(parents=True)
    (base / ".no_exist" / COMMIT / "sub" / "added_tokens.json").touch()
    snapshot = look.one(cache)
    small, large = (etag_of(name, data) for name, data in FILES.items())
    root = "hub/models--org--name"
    assert snapshot.key == KEY
    assert (snapshot.names, snapshot.directory) == (("main",), f"{root}/snapshots/{COMMIT}")
    assert {file.path: (file.size_bytes, file.expected and file.expected.hex) for file in snapshot.files} == {
        f"{root}/blobs/{small}": (2, small),
        f"{root}/blobs/{large}": (len(WEIGHTS), large),
    }
    assert snapshot.links == (
        LocalLink(RelPath(f"{root}/snapshots/{COMMIT}/config.json"), f"../../blobs/{small}"),
        LocalLink(RelPath(f"{root}/snapshots/{COMMIT}/sub/model.safetensors"), f"../../../blobs/{large}"),
    )
    tree = (base / "trees" / f"{COMMIT}.json").read_text()
    assert snapshot.pointers == (
        LocalPointer(RelPath(f"{root}/.no_exist/{COMMIT}/sub/added_tokens.json"), ""),
        LocalPointer(RelPath(f"{root}/refs/main"), COMMIT),
        LocalPointer(RelPath(f"{root}/trees/{COMMIT}.json"), tree),
    )


def test_everything_of_a_snapshot_is_owned_by_it(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, FILES)
    snapshot = look.one(cache)
    paths = [entry.path for entry in (*snapshot.files, *snapshot.links, *snapshot.pointers)]
    assert len(paths) == 6
    assert all(LAYOUT.owns(snapshot.key, path) and private_part(path) is None for path in paths)


def test_a_digest_comes_from_the_tree_and_otherwise_from_the_blobs_name(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, {"model.safetensors": WEIGHTS}, repo="org/listed")
    hf_snapshot(cache, {"model.safetensors": WEIGHTS}, repo="org/named", trees=False)
    hf_snapshot(cache, {"config.json": b"{}"}, repo="org/small", trees=False)
    listed, named, small = (snapshot.files[0].expected for snapshot in look(cache))
    digest = etag_of("model.safetensors", WEIGHTS)
    assert listed == ExpectedDigest(DigestAlgorithm.SHA256, digest, f"trees/{COMMIT}.json")
    assert named == ExpectedDigest(DigestAlgorithm.SHA256, digest, "the blob's name")
    assert small is not None
    assert small.algorithm is DigestAlgorithm.GIT_SHA1


def test_a_folder_of_the_repository_called_blobs_promises_no_digest(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, {"config.json": b"{}"}, trees=False)
    place = base / "snapshots" / COMMIT / "blobs" / ("a" * 64)
    place.parent.mkdir()
    place.write_bytes(b"a regular file of a cache without symlinks")
    expected = {file.path.name: file.expected for file in look.one(cache).files}
    assert expected["a" * 64] is None


def test_all_references_to_the_commit_and_no_others_belong_to_it(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES, refs=("main", "v1.0", "refs/pr/1"))
    (base / "refs" / "other").write_text(OTHER)
    (base / "refs" / "main.1234abcd.tmp").write_text(COMMIT)
    (base / "refs" / "nonsense").write_bytes(b"\xff\xfe")
    snapshot = look.one(cache)
    assert snapshot.names == ("main", "refs/pr/1", "v1.0")
    assert [pointer.path.name for pointer in snapshot.pointers if "/refs/" in pointer.path] == ["main", "1", "v1.0"]


def test_a_commit_without_a_reference_is_named_by_itself(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, FILES, refs=())
    assert look.one(cache).names == (COMMIT,)


def test_a_reference_is_kept_as_it_is_written(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES, trees=False)
    (base / "refs" / "main").write_text(f"{COMMIT}\n")
    assert look.one(cache).pointers == (LocalPointer(RelPath("hub/models--org--name/refs/main"), f"{COMMIT}\n"),)


def test_revisions_that_share_blobs_list_their_own(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES, refs=("v1",))
    hf_snapshot(cache, {**FILES, "config.json": b'{"new": 1}'}, commit=OTHER)
    (base / "blobs" / ("0" * 40)).write_bytes(b"of a revision that was deleted")
    old, new = look(cache)
    assert (old.names, new.names) == (("v1",), ("main",))
    shared = {file.path for file in old.files} & {file.path for file in new.files}
    assert len(shared) == 1
    assert (len(old.files), len(new.files)) == (2, 2)
    assert isinstance(new.completeness, Complete)


def test_two_names_of_one_content_are_one_file_and_two_links(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, {"a.json": b"{}", "b/c.json": b"{}"})
    snapshot = look.one(cache)
    assert (len(snapshot.files), len(snapshot.links)) == (1, 2)


@pytest.mark.parametrize(("kind", "expected"), [("datasets", RepoType.DATASET), ("spaces", RepoType.SPACE)])
def test_datasets_and_spaces_are_found_too(cache: Path, look: Looker, kind: str, expected: RepoType) -> None:
    hf_snapshot(cache, {"data/train.parquet": b"x"}, kind=kind)
    snapshot = look.one(cache)
    assert snapshot.key.repo == RepoId(expected, "org/name")
    assert isinstance(snapshot.completeness, Complete)


def test_a_repository_of_the_old_days_has_no_owner(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, FILES, repo="gpt2")
    assert look.one(cache).key.repo.name == "gpt2"


def test_the_cache_directory_may_be_hf_hub_cache_itself(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, FILES)
    below_hub = look.one(cache)
    direct = look.one(cache / "hub")
    assert direct.directory == below_hub.directory.removeprefix("hub/")
    assert [file.path for file in direct.files] == [file.path.removeprefix("hub/") for file in below_hub.files]
    assert isinstance(direct.completeness, Complete)


@pytest.mark.parametrize("inside", ["", "hub"])
def test_the_cache_directory_may_be_a_link(cache: Path, look: Looker, inside: str) -> None:
    hf_snapshot(cache, FILES)
    link = cache.parent / "model_cache"
    link.symlink_to(cache / inside)
    assert isinstance(look.one(link).completeness, Complete)


def test_a_commit_that_lies_in_both_places_is_given_once(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES)
    hf_snapshot(cache / "again", FILES)
    (cache / "again" / "hub" / "models--org--name").rename(cache / "models--org--name")
    assert look.one(cache).directory.startswith("hub/")
    (base / "blobs" / etag_of("sub/model.safetensors", WEIGHTS)).unlink()
    assert not look.one(cache).directory.startswith("hub/")


def test_regular_files_of_a_cache_without_symlinks_are_payload(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES)
    place = base / "snapshots" / COMMIT / "sub" / "model.safetensors"
    place.unlink()
    (base / "blobs" / etag_of("x.safetensors", WEIGHTS)).rename(place)
    snapshot = look.one(cache)
    file = next(file for file in snapshot.files if file.path.name == "model.safetensors")
    assert file.expected is not None
    assert file.expected.hex == etag_of("x.safetensors", WEIGHTS)
    assert isinstance(snapshot.completeness, Complete)


def test_secrets_locks_and_books_are_never_listed(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES)
    etag = etag_of("config.json", FILES["config.json"])
    for name in (
        "token",
        "stored_tokens",
        "hub/token",
        "hub/CACHEDIR.TAG",
        "hub/version.txt",
        "hub/.locks/models--org--name/x.lock",
        "xet/chunk-cache/x",
        f"hub/models--org--name/blobs/{etag}.lock",
        f"hub/models--org--name/blobs/{etag}.1234abcd.incomplete",
        f"hub/models--org--name/blobs/.{etag}.1234abcd.shared",
        "hub/models--org--name/trees/x.tmp",
        "hub/blobs/.huggingface-shared-blobs",
        "hub/blobs/aa/x.refs",
        "hub/blobs/aa/x.lock",
        ".zimage-syncd/identity.json",
    ):
        place = cache / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("a secret")
    snapshot = look.one(cache)
    assert isinstance(snapshot.completeness, Complete)
    expected = {f"hub/{base.name}/blobs/{etag_of(name, data)}" for name, data in FILES.items()}
    assert {file.path for file in snapshot.files} == expected
    assert all("secret" not in pointer.text for pointer in snapshot.pointers)


def test_payload_that_restore_linked_into_a_store_is_a_file(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES)
    blob = base / "blobs" / etag_of("x.safetensors", WEIGHTS)
    store = cache.parent / "store" / "blobs" / "x"
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(store)
    snapshot = look.one(cache, cache.parent / "store")
    file = next(file for file in snapshot.files if file.linked_to is not None)
    assert (file.path, file.linked_to) == (f"hub/{base.name}/blobs/{blob.name}", str(store))
    assert (file.size_bytes, file.expected and file.expected.hex) == (len(WEIGHTS), blob.name)
    assert isinstance(snapshot.completeness, Complete)
    os.truncate(store, 50)
    reasons = look.reasons(cache, cache.parent / "store")
    assert f"sub/model.safetensors: 50 bytes, its publisher lists {len(WEIGHTS)}" in reasons
    assert "sub/model.safetensors: its header" in reasons


PATHS = {
    f"hub/models--org--name/blobs/{'a' * 64}": True,
    f"models--org--name/blobs/{'a' * 64}": True,
    f"hub/models--org--name/snapshots/{COMMIT}/a/b.json": True,
    f"hub/models--org--name/trees/{COMMIT}.json": True,
    f"hub/models--org--name/.no_exist/{COMMIT}/x": True,
    "hub/models--org--name/refs/pr/1": True,
    f"hub/blobs/ab/{'a' * 64}": True,
    f"blobs/ab/{'a' * 64}": True,
    f"hub/blobs/ab/{'a' * 64}.refs": False,
    f"hub/blobs/ab/{'a' * 64}.lock": False,
    "hub/blobs/.huggingface-shared-blobs": False,
    f"hub/blobs/abc/{'a' * 64}": False,
    f"hub/models--org--name/blobs/{'a' * 64}.incomplete": False,
    "hub/models--org--name/blobs/a/b": False,
    f"hub/models--org--name/snapshots/{OTHER}/a": False,
    f"hub/models--org--name/trees/{OTHER}.json": False,
    f"hub/models--org--name/.no_exist/{OTHER}/x": False,
    f"hub/models--org--name2/snapshots/{COMMIT}/a": False,
    f"hub/datasets--org--name/snapshots/{COMMIT}/a": False,
    f"hub/hub/models--org--name/snapshots/{COMMIT}/a": False,
    "hub/models--org--name/other": False,
    "hub/token": False,
    "token": False,
    "models/org--name/snapshots/master/a": False,
}


@pytest.mark.parametrize(("path", "owned"), PATHS.items())
def test_a_manifest_may_only_have_entries_where_its_snapshot_lies(path: str, owned: bool) -> None:
    assert LAYOUT.owns(KEY, RelPath(path)) is owned


def test_a_key_of_another_layout_owns_nothing_here() -> None:
    key = SnapshotKey(LayoutName.MODELSCOPE, KEY.repo, COMMIT)
    assert not LAYOUT.owns(key, RelPath(f"hub/models--org--name/snapshots/{COMMIT}/a"))


@pytest.mark.parametrize("prefix", ["", "hub/"])
def test_a_manifest_tells_which_directory_libraries_take(prefix: str) -> None:
    base = f"{prefix}models--org--name"
    file = FileEntry(RelPath(f"{base}/blobs/{'a' * 64}"), 0, 0o644, "a" * 64, ())
    manifest = Manifest(KEY, Proof.PROVED, (file, PointerEntry(RelPath(f"{base}/refs/main"), COMMIT)))
    assert LAYOUT.directory(manifest) == f"{base}/snapshots/{COMMIT}"


def test_a_whole_pipeline_is_complete(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, pipeline_files())
    assert "names and sizes of 13 listed files" in look.checked(cache)


def test_every_layout_can_be_had_by_its_name() -> None:
    assert [name in layout_of(name).names for name in LayoutName] == [True] * 4
    with pytest.raises(UsageInvalid, match="a layout is one of huggingface, modelscope"):
        layout_of("windows")  # type: ignore[arg-type]


def test_an_empty_directory_holds_nothing(cache: Path, look: Looker) -> None:
    assert look(cache) == []
    assert look(cache / "not there") == []


def test_a_first_download_that_has_finished_no_file_is_an_incomplete_snapshot(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, FILES)
    shutil.rmtree(base / "snapshots")
    shutil.rmtree(base / "blobs")
    (base / "blobs").mkdir()
    assert look(cache) == []
    (base / "blobs" / f"{'a' * 64}.incomplete").write_bytes(b"half")
    snapshot = look.one(cache)
    assert (snapshot.key, snapshot.names) == (KEY, ("main",))
    assert isinstance(snapshot.completeness, Incomplete)


def test_a_snapshot_of_no_file_is_incomplete(cache: Path, look: Looker) -> None:
    (cache / "hub" / "models--org--name" / "snapshots" / COMMIT).mkdir(parents=True)
    assert look.one(cache).completeness == Incomplete(("the snapshot holds no file",))

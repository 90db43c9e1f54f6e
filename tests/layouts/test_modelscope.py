"""ModelScope's three layouts: what belongs to a snapshot, and what is only on its way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.layouts.parts import part_of
from zimage_syncd.layouts.registry import layout_of
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.manifest import FileEntry, Manifest, Proof
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import CannotTell, Incomplete, LayoutName, LocalLink, RepoId, RepoType, SnapshotKey

FILES = pipeline_files()
MIB = 2**20
LAYOUT = layout_of(LayoutName.MODELSCOPE)
LAYOUTS = {
    LayoutName.MODELSCOPE: "models/org--na.me/snapshots/master",
    LayoutName.MODELSCOPE_LEGACY: "models/org/na___me",
    LayoutName.MODELSCOPE_HUB_LEGACY: "hub/models/org/na___me",
}


def place_files(directory: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


@pytest.fixture(params=LAYOUTS, ids=str)
def layout(request: pytest.FixtureRequest) -> LayoutName:
    name: LayoutName = request.param
    return name


@pytest.fixture
def snapshot_directory(cache: Path, layout: LayoutName) -> Path:
    """A whole pipeline in one of the layouts."""
    place_files(cache / LAYOUTS[layout], FILES)
    return cache / LAYOUTS[layout]


def test_a_snapshot_is_its_files(cache: Path, look: Looker, snapshot_directory: Path, layout: LayoutName) -> None:
    snapshot = look.one(cache)
    assert snapshot.key == SnapshotKey(layout, RepoId(RepoType.MODEL, "org/na.me"), "master")
    assert (snapshot.names, snapshot.directory) == (("master",), LAYOUTS[layout])
    assert [file.path for file in snapshot.files] == sorted(f"{LAYOUTS[layout]}/{name}" for name in FILES)
    assert (snapshot.links, snapshot.pointers) == ((), ())
    assert all(file.expected is None for file in snapshot.files)


def test_no_list_lies_on_disk_so_nobody_can_tell(cache: Path, look: Looker, snapshot_directory: Path) -> None:
    answer = look.one(cache).completeness
    assert isinstance(answer, CannotTell)
    assert answer.satisfied
    assert answer.unchecked == ("ModelScope keeps no list of a repository's files on disk",)


def test_everything_of_a_snapshot_is_owned_by_it(cache: Path, look: Looker, snapshot_directory: Path) -> None:
    snapshot = look.one(cache)
    assert all(LAYOUT.owns(snapshot.key, file.path) for file in snapshot.files)
    others = ("models/org--other/snapshots/master/a", "models/org--na.me/snapshots/v1/a", "models/org/other/a", "token")
    assert not any(LAYOUT.owns(snapshot.key, RelPath(path)) for path in (*others, snapshot.directory))


def test_a_manifest_tells_which_directory_libraries_take(cache: Path, look: Looker, snapshot_directory: Path) -> None:
    snapshot = look.one(cache)
    entry = FileEntry(snapshot.files[0].path, 0, 0o644, "a" * 64, ())
    assert LAYOUT.directory(Manifest(snapshot.key, Proof.UNPROVED, (entry,))) == snapshot.directory


@pytest.mark.parametrize("revision", ["../../..", "/etc"])
def test_a_hostile_revision_is_no_place(revision: str) -> None:
    key = SnapshotKey(LayoutName.MODELSCOPE, RepoId(RepoType.MODEL, "org/name"), revision)
    entry = FileEntry(RelPath("etc/passwd"), 0, 0o644, "a" * 64, ())
    assert not LAYOUT.owns(key, entry.path)
    with pytest.raises(UnsafePath):
        LAYOUT.directory(Manifest(key, Proof.UNPROVED, (entry,)))


SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        f"{SHARD}.incomplete",
        f"{SHARD}.parallel_tmp",
        f"{SHARD}_0_{160 * MIB - 1}",
        f"{SHARD}_{160 * MIB}_{320 * MIB - 1}",
        f"{SHARD}_{640 * MIB}_{640 * MIB + 99}",
        "._____temp/model.safetensors",
        "tmp1a2b3c.tmp",
        ".zimage-syncd-0a1b.partial",
    ],
)
def test_what_is_on_its_way_makes_a_snapshot_incomplete_and_is_not_listed(
    cache: Path, look: Looker, snapshot_directory: Path, name: str
) -> None:
    (snapshot_directory / SHARD).unlink()
    place_files(snapshot_directory, {name: b"x" * 100})
    assert f"{name}: a download is unfinished" in look.reasons(cache)
    assert not any(file.path.endswith(name) for file in look.one(cache).files)


@pytest.mark.parametrize(
    ("layout", "temporary"),
    [
        (LayoutName.MODELSCOPE, "models/org--na.me/._____temp"),
        (LayoutName.MODELSCOPE_LEGACY, "models/._____temp/org/na.me"),
        (LayoutName.MODELSCOPE_LEGACY, "models/._____temp/org/na___me"),
        (LayoutName.MODELSCOPE_HUB_LEGACY, "hub/models/._____temp/org/na.me"),
    ],
)
def test_a_download_that_the_old_sdk_left_is_found(
    cache: Path, look: Looker, layout: LayoutName, temporary: str
) -> None:
    place_files(cache / LAYOUTS[layout], FILES)
    (cache / temporary / "empty").mkdir(parents=True)
    assert isinstance(look.one(cache).completeness, CannotTell)
    place_files(cache / temporary, {"vae/model.safetensors": b"x"})
    assert look.reasons(cache) == "._____temp/vae/model.safetensors: a download is unfinished"


@pytest.mark.parametrize(
    ("name", "size", "others", "part"),
    [
        ("m.bin_0_167772159", 100, {}, True),
        ("m.bin_0_167772159", 167772160, {}, True),
        ("m.bin_167772160_167772259", 100, {}, True),
        ("m.bin_0_167772159", 167772161, {}, False),
        ("m.bin_1_167772160", 100, {}, False),
        ("data_0_100", 100, {}, False),
        ("data_2019_2020", 2, {}, False),
        ("data_1048576_10", 2, {}, False),
        ("_0_1048575", 2, {}, False),
        ("m.bin_0_1048575", 100, {"m.bin": 3 * MIB}, True),
        ("m.bin_2097152_2097251", 100, {"m.bin": 2 * MIB + 100}, True),
        ("m.bin_0_1048575", 100, {"m.bin": 50}, False),
        ("m.bin_0_99", 100, {"m.bin": 3 * MIB}, False),
        ("plain.bin", 100, {}, False),
    ],
)
def test_a_part_is_told_from_a_repositorys_own_file(name: str, size: int, others: dict[str, int], part: bool) -> None:
    assert (part_of(name, {name: size, **others}) is not None) is part


def test_a_file_that_only_looks_like_a_part_is_payload(cache: Path, look: Looker, snapshot_directory: Path) -> None:
    place_files(snapshot_directory, {"data_0_100": b"x" * 100})
    snapshot = look.one(cache)
    assert isinstance(snapshot.completeness, CannotTell)
    assert "data_0_100" in [file.path.name for file in snapshot.files]


def test_parts_beside_the_finished_file_are_passed_over_and_said(
    cache: Path, look: Looker, snapshot_directory: Path
) -> None:
    place_files(snapshot_directory, {"big.bin_0_1048575": b"x"})
    with (snapshot_directory / "big.bin").open("wb") as stream:
        stream.truncate(3 * MIB)
    snapshot = look.one(cache)
    assert isinstance(snapshot.completeness, CannotTell)
    assert "1 left-over parts of finished downloads were passed over" in snapshot.completeness.unchecked[0]
    assert "big.bin_0_1048575" not in [file.path.name for file in snapshot.files]


def test_a_missing_shard_is_named(cache: Path, look: Looker, snapshot_directory: Path) -> None:
    (snapshot_directory / SHARD).unlink()
    assert look.reasons(cache).startswith(f"{SHARD}: is missing; ")


def test_a_truncated_shard_is_named(cache: Path, look: Looker, snapshot_directory: Path) -> None:
    os.truncate(snapshot_directory / SHARD, 1000)
    assert look.reasons(cache).startswith(f"{SHARD}: its header describes")


def test_the_old_sdks_index_files_are_carried_and_never_loaded(cache: Path, look: Looker) -> None:
    directory = cache / LAYOUTS[LayoutName.MODELSCOPE_LEGACY]
    trap = f"cos\nsystem\n(S'touch {cache.parent}/opened'\ntR."
    place_files(directory, {**FILES, ".msc": trap.encode(), ".mdl": trap.encode()})
    (directory / ".mv").write_text("Revision:v1.0.3,CreatedAt:1700000000")
    snapshot = look.one(cache)
    assert snapshot.key.revision == "v1.0.3"
    assert {".msc", ".mv", ".mdl"} <= {file.path.name for file in snapshot.files}
    assert not (cache.parent / "opened").exists()


@pytest.mark.parametrize(
    ("text", "revision"),
    [(b"master", "master"), (b"", "master"), (b"\xff", "master"), (b"Revision:a b", "master"), (b"dev/x", "dev/x")],
)
def test_a_version_file_is_read_with_care(cache: Path, look: Looker, text: bytes, revision: str) -> None:
    place_files(cache / LAYOUTS[LayoutName.MODELSCOPE_LEGACY], {**FILES, ".mv": text})
    assert look.one(cache).key.revision == revision


def test_every_revision_is_a_snapshot_of_its_own(cache: Path, look: Looker) -> None:
    for revision in ("master", "v1.0", "feature/x", "feature/y"):
        modelscope_snapshot(cache, FILES, revision=revision)
    snapshots = look(cache)
    assert [snapshot.key.revision for snapshot in snapshots] == ["feature/x", "feature/y", "master", "v1.0"]
    assert all(len(snapshot.files) == len(FILES) for snapshot in snapshots)
    assert all(LAYOUT.owns(snapshot.key, snapshot.files[0].path) for snapshot in snapshots)


def test_a_repository_of_directories_alone_is_still_a_revision(cache: Path, look: Looker) -> None:
    modelscope_snapshot(cache, {"data/a.csv": b"1", "more/b.csv": b"2"})
    assert look.one(cache).key.revision == "master"


@pytest.mark.parametrize(("folder", "kind"), [("datasets", RepoType.DATASET), ("studios", RepoType.SPACE)])
def test_datasets_and_studios_are_found_too(cache: Path, look: Looker, folder: str, kind: RepoType) -> None:
    place_files(cache / folder / "org--name" / "snapshots" / "master", {"README.md": b"#"})
    place_files(cache / folder / "org" / "old", {"README.md": b"#"})
    place_files(cache / "hub" / folder / "org" / "older", {"README.md": b"#"})
    snapshots = look(cache)
    assert {snapshot.key.repo for snapshot in snapshots} == {
        RepoId(kind, name) for name in ("org/name", "org/old", "org/older")
    }
    assert all(LAYOUT.owns(snapshot.key, snapshot.files[0].path) for snapshot in snapshots)


def test_links_inside_of_a_snapshot_are_kept(cache: Path, look: Looker) -> None:
    base = modelscope_snapshot(cache, FILES)
    (base / "vae" / "copy.json").symlink_to("../model_index.json")
    snapshot = look.one(cache)
    path = RelPath("models/org--name/snapshots/master/vae/copy.json")
    assert snapshot.links == (LocalLink(path, "../model_index.json"),)
    assert isinstance(snapshot.completeness, CannotTell)


def test_payload_that_restore_linked_into_a_store_is_a_file(cache: Path, look: Looker) -> None:
    base = modelscope_snapshot(cache, FILES)
    store = cache.parent / "store"
    store.mkdir()
    (base / SHARD).rename(store / "x")
    (base / SHARD).symlink_to(store / "x")
    linked = [file for file in look.one(cache, store).files if file.linked_to is not None]
    assert [(file.path, file.linked_to) for file in linked] == [
        (f"models/org--name/snapshots/master/{SHARD}", f"{store}/x")
    ]
    assert f"{SHARD}: it leads out of the cache" in look.reasons(cache)


def test_both_libraries_may_use_one_directory(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, FILES)
    for directory in LAYOUTS.values():
        place_files(cache / directory, FILES)
    place_files(cache / ".lock", {"file_0a.lock": b""})
    assert [snapshot.key.layout for snapshot in look(cache)] == [
        LayoutName.HUGGINGFACE,
        LayoutName.MODELSCOPE,
        LayoutName.MODELSCOPE_HUB_LEGACY,
        LayoutName.MODELSCOPE_LEGACY,
    ]


def test_an_empty_snapshot_is_incomplete(cache: Path, look: Looker) -> None:
    (cache / LAYOUTS[LayoutName.MODELSCOPE]).mkdir(parents=True)
    assert look.one(cache).completeness == Incomplete(("the snapshot holds no file",))


def test_names_that_no_hub_gives_are_passed_over(cache: Path, look: Looker) -> None:
    for name in ("a b--c", "--", "x--y z"):
        place_files(cache / "models" / name / "snapshots" / "master", {"a": b"1"})
    for name in ("._____temp/org", ".hidden/x", "org/with.dot"):
        place_files(cache / "models" / name, {"a": b"1"})
    assert look(cache) == []

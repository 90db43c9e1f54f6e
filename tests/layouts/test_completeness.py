"""The three answers for Hugging Face's cache: complete, incomplete and why, cannot tell and what was not checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.caches import COMMIT, etag_of, hf_snapshot
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.snapshot import CannotTell, Complete, Incomplete

SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
FILES = pipeline_files()


class Cached:
    """A pipeline in a cache, about to be damaged."""

    def __init__(self, cache: Path, *, trees: bool) -> None:
        self.base = hf_snapshot(cache, FILES, trees=trees)

    def blob(self, name: str) -> Path:
        return self.base / "blobs" / etag_of(name, FILES[name])

    def link(self, name: str) -> Path:
        return self.base / "snapshots" / COMMIT / name

    def forget(self, name: str) -> None:
        """As if the file had never been asked for."""
        self.link(name).unlink()
        if not any(place.resolve() == self.blob(name) for place in (self.base / "snapshots").rglob("*")):
            self.blob(name).unlink(missing_ok=True)


def dangling(cached: Cached, name: str) -> None:
    cached.blob(name).unlink()


def absent(cached: Cached, name: str) -> None:
    cached.forget(name)


def truncated(cached: Cached, name: str) -> None:
    os.truncate(cached.blob(name), 100)


def garbage(cached: Cached, name: str) -> None:
    cached.blob(name).write_bytes(b"g" * len(FILES[name]))


def empty(cached: Cached, name: str) -> None:
    os.truncate(cached.blob(name), 0)


def out_of_cache(cached: Cached, name: str) -> None:
    cached.blob(name).unlink()
    cached.blob(name).symlink_to("/etc/hostname")


@pytest.mark.parametrize("trees", [True, False])
@pytest.mark.parametrize(
    ("damage", "name", "said"),
    [
        (dangling, SHARD, f"{SHARD}: its blob hub/models--org--name/blobs/{etag_of(SHARD, FILES[SHARD])} is missing"),
        (dangling, "README.md", "README.md: its blob"),
        (absent, SHARD, f"{SHARD}: is missing"),
        (absent, "vae/config.json", "vae/config.json: is missing"),
        (absent, "vae/diffusion_pytorch_model.safetensors", "vae/: has no weights"),
        (absent, "tokenizer/tokenizer_config.json", "tokenizer/tokenizer_config.json: is missing"),
        (truncated, SHARD, f"{SHARD}: its header"),
        (garbage, SHARD, f"{SHARD}: its header claims"),
        (empty, SHARD, f"{SHARD}: is empty"),
        (empty, "model_index.json", "model_index.json: is not JSON"),
        (out_of_cache, SHARD, f"{SHARD}: it leads out of the cache, to /etc/hostname"),
    ],
)
def test_damage_makes_a_snapshot_incomplete_and_names_the_file(
    cache: Path, look: Looker, trees: bool, damage: Callable[[Cached, str], None], name: str, said: str
) -> None:
    damage(Cached(cache, trees=trees), name)
    assert said in look.reasons(cache)


def test_a_lone_model_index_is_no_snapshot(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, {"model_index.json": FILES["model_index.json"]}, trees=False)
    reasons = look.reasons(cache).splitlines()
    assert [reason.split(":")[0] for reason in reasons] == [
        "scheduler/",
        "text_encoder/",
        "tokenizer/",
        "transformer/",
        "vae/",
    ]


def test_a_size_that_the_publisher_does_not_list_is_found_in_any_file(cache: Path, look: Looker) -> None:
    cached = Cached(cache, trees=True)
    with cached.blob("README.md").open("ab") as stream:
        stream.write(b"!")
    assert look.reasons(cache) == "README.md: 8 bytes, its publisher lists 7"


def test_a_blob_that_the_publisher_does_not_list_under_this_name_is_found(cache: Path, look: Looker) -> None:
    cached = Cached(cache, trees=True)
    first = SHARD.replace("00002-of", "00001-of")
    cached.link(SHARD).unlink()
    cached.link(SHARD).symlink_to(f"../../../blobs/{etag_of(first, FILES[first])}")
    assert f"{SHARD}: it leads to blob {etag_of(first, FILES[first])}, trees/{COMMIT}.json lists" in look.reasons(cache)


def test_without_a_list_a_satisfied_pipeline_is_unproved(cache: Path, look: Looker) -> None:
    Cached(cache, trees=False)
    answer = look.one(cache).completeness
    assert isinstance(answer, CannotTell)
    assert answer.satisfied
    assert answer.unchecked == ("trees/<commit>.json is not there: it would list what belongs here",)


@pytest.mark.parametrize(
    "text", ["{", '{"format_version": 2, "files": {}}', '{"format_version": 1, "files": {"a": 1}}']
)
def test_a_list_that_nobody_understands_is_no_list(cache: Path, look: Looker, text: str) -> None:
    cached = Cached(cache, trees=True)
    (cached.base / "trees" / f"{COMMIT}.json").write_text(text)
    answer = look.one(cache).completeness
    assert isinstance(answer, CannotTell)
    assert answer.unchecked == ("trees/<commit>.json cannot be understood: it would list what belongs here",)


def test_an_empty_lfs_size_is_as_good_as_none(cache: Path, look: Looker) -> None:
    cached = Cached(cache, trees=True)
    tree = cached.base / "trees" / f"{COMMIT}.json"
    document = json.loads(tree.read_text())
    document["files"][SHARD]["lfs_size"] = None
    tree.write_text(json.dumps(document))
    assert isinstance(look.one(cache).completeness, Complete)


def test_without_a_list_and_without_an_index_nothing_is_satisfied(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, {"data.csv": b"1"}, kind="datasets", trees=False)
    answer = look.one(cache).completeness
    assert isinstance(answer, CannotTell)
    assert not answer.satisfied


def test_listed_files_that_nothing_needs_may_be_absent(cache: Path, look: Looker) -> None:
    extra = {
        "README.md": b"#",
        "assets/a.png": b"p",
        "onnx/model.onnx": b"o",
        "vae/weights.bin": b"b",
        "sdxl.bin": b"c",
    }
    cached = hf_snapshot(cache, {**FILES, **extra})
    for name in extra:
        (cached / "snapshots" / COMMIT / name).unlink()
    assert "5 listed files were never downloaded, and nothing here needs them" in look.checked(cache)


def test_a_variant_that_was_not_asked_for_may_be_absent(cache: Path, look: Looker) -> None:
    variant = "vae/diffusion_pytorch_model.fp16.safetensors"
    cached = hf_snapshot(cache, {**FILES, variant: safetensors_bytes({"a": b"1"})})
    (cached / "snapshots" / COMMIT / variant).unlink()
    assert "1 listed files were never downloaded" in look.checked(cache)


def test_listed_files_of_a_component_are_needed(cache: Path, look: Looker) -> None:
    Cached(cache, trees=True).forget("tokenizer/vocab.json")
    reason = "tokenizer/vocab.json: is missing; its publisher lists it in a component of the pipeline"
    assert reason in look.reasons(cache)


def test_listed_weights_are_needed_beside_a_configuration(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, {"config.json": b"{}", "model.safetensors": safetensors_bytes({"a": b"1"})})
    (base / "snapshots" / COMMIT / "model.safetensors").unlink()
    reason = "model.safetensors: is missing; its publisher lists it, and nothing beside it has weights"
    assert look.reasons(cache) == reason


def test_a_listed_part_without_any_index_cannot_be_told(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, {"train.parquet": b"1", "test.parquet": b"2"}, kind="datasets")
    (base / "snapshots" / COMMIT / "test.parquet").unlink()
    answer = look.one(cache).completeness
    assert isinstance(answer, CannotTell)
    assert not answer.satisfied
    assert answer.unchecked[0].startswith("1 of 2 listed files are absent, such as test.parquet")


def test_files_that_the_publisher_does_not_list_are_said(cache: Path, look: Looker) -> None:
    cached = Cached(cache, trees=True)
    cached.link("notes.txt").write_text("mine")
    assert "1 files are there that its publisher does not list" in look.checked(cache)


ABANDONED = ".1234abcd.incomplete"


@pytest.mark.parametrize("ending", [".incomplete", ABANDONED])
def test_a_listed_file_whose_download_is_unfinished_is_named(cache: Path, look: Looker, ending: str) -> None:
    cached = Cached(cache, trees=True)
    cached.forget("README.md")
    (cached.base / "blobs" / (cached.blob("README.md").name + ending)).write_bytes(b"#")
    assert look.reasons(cache).startswith("README.md: its download is unfinished (blobs/")


def test_an_unfinished_download_of_another_commit_does_no_harm(cache: Path, look: Looker) -> None:
    cached = Cached(cache, trees=True)
    (cached.base / "blobs" / f"{'0' * 64}{ABANDONED}").write_bytes(b"#")
    assert isinstance(look.one(cache).completeness, Complete)


@pytest.mark.parametrize("trees", [True, False])
def test_what_is_left_beside_a_finished_blob_does_no_harm(cache: Path, look: Looker, trees: bool) -> None:
    cached = Cached(cache, trees=trees)
    (cached.base / "blobs" / (cached.blob(SHARD).name + ABANDONED)).write_bytes(b"#")
    assert not isinstance(look.one(cache).completeness, Incomplete)


def test_without_a_list_an_unfinished_download_may_belong_to_any_snapshot(cache: Path, look: Looker) -> None:
    cached = Cached(cache, trees=False)
    (cached.base / "blobs" / f"{'0' * 64}{ABANDONED}").write_bytes(b"#")
    assert look.reasons(cache) == f"blobs/{'0' * 64}{ABANDONED}: a download is unfinished"


@pytest.mark.parametrize("name", ["model.safetensors.incomplete", "sub/x.tmp", ".zimage-syncd-0a.partial"])
def test_a_temporary_file_among_a_snapshots_own_makes_it_incomplete(cache: Path, look: Looker, name: str) -> None:
    place = Cached(cache, trees=True).link(name)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"#")
    assert look.reasons(cache) == f"{name}: a temporary file is left"


def test_a_publishers_file_may_be_called_like_a_temporary_one(cache: Path, look: Looker) -> None:
    hf_snapshot(cache, {**FILES, "poetry.lock": b"#", "notes.tmp": b"#"})
    assert isinstance(look.one(cache).completeness, Complete)


def test_a_hostile_index_gives_a_bounded_number_of_reasons(cache: Path, look: Looker) -> None:
    index = json.dumps({"weight_map": {str(number): f"{number}.safetensors" for number in range(5000)}}).encode()
    hf_snapshot(cache, {"model.safetensors.index.json": index})
    answer = look.one(cache).completeness
    assert isinstance(answer, Incomplete)
    assert (len(answer.reasons), answer.reasons[-1]) == (101, "and 4900 more")

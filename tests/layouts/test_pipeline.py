"""What a repository's own indexes say about it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.layouts.pipeline import Content, Judgement, judge

WEIGHTS = safetensors_bytes({"w": b"x" * 64})
SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"

Files = dict[str, bytes]


def judged(tmp_path: Path, files: Files) -> Judgement:
    for name, data in files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    sizes = {name: len(data) for name, data in files.items()}
    return judge(Content(sizes, lambda name: os.open(tmp_path / name, os.O_RDONLY)))


def index_of(*shards: str) -> bytes:
    return json.dumps({"weight_map": {f"layer.{number}": shard for number, shard in enumerate(shards)}}).encode()


def model_index(**components: object) -> bytes:
    return json.dumps({"_class_name": "Pipeline", **components}).encode()


def test_a_whole_pipeline_satisfies_its_indexes(tmp_path: Path) -> None:
    answer = judged(tmp_path, pipeline_files())
    assert (answer.reasons, answer.satisfied) == ((), True)
    assert answer.checked == ("model_index.json", INDEX, "headers of 4 safetensors files")
    assert answer.components == {"scheduler", "text_encoder", "tokenizer", "transformer", "vae"}


def without(name: str) -> Callable[[Files], None]:
    return lambda files: files.pop(name) and None


def replaced(name: str, data: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def emptied(prefix: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for name in [name for name in files if name.startswith(prefix)]:
            del files[name]

    return change


def lone_index(files: Files) -> None:
    index = files["model_index.json"]
    files.clear()
    files["model_index.json"] = index


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (without(SHARD), f"{SHARD}: is missing; diffusion_pytorch_model.safetensors.index.json names it"),
        (replaced(SHARD, WEIGHTS[:-10]), f"{SHARD}: its header describes"),
        (replaced(SHARD, b"garbage" * 100), f"{SHARD}: its header claims"),
        (replaced(SHARD, b""), f"{SHARD}: is empty"),
        (without("vae/config.json"), "vae/config.json: is missing; model_index.json names a AutoencoderKL"),
        (without("vae/diffusion_pytorch_model.safetensors"), "vae/: has no weights"),
        (emptied("vae/"), "vae/: is missing; model_index.json names it"),
        (emptied("tokenizer/tokenizer_config"), "tokenizer/tokenizer_config.json: is missing"),
        (without("scheduler/scheduler_config.json"), "scheduler/: is missing"),
        (lone_index, "transformer/: is missing; model_index.json names it"),
        (replaced(INDEX, b"{"), f"{INDEX}: is not JSON"),
        (replaced(INDEX, b"{}"), f"{INDEX}: is not a weight index"),
        (replaced(INDEX, b'{"weight_map": {"a": 1}}'), f"{INDEX}: is not a weight index"),
        (replaced("model_index.json", b"[]"), "model_index.json: is not a JSON object"),
        (replaced("model_index.json", b"[" * 200_000), "model_index.json: is not JSON"),
    ],
)
def test_what_a_pipeline_lacks_is_named(tmp_path: Path, change: Callable[[Files], None], named: str) -> None:
    files = pipeline_files()
    change(files)
    answer = judged(tmp_path, files)
    assert any(reason.startswith(named) for reason in answer.reasons), answer.reasons
    assert not answer.satisfied


def test_only_what_is_wrong_is_named(tmp_path: Path) -> None:
    files = pipeline_files()
    del files["vae/config.json"]
    assert len(judged(tmp_path, files).reasons) == 1


@pytest.mark.parametrize(
    "component",
    [
        [None, None],
        ["transformers", None],
        "a string",
        False,
        ["one"],
    ],
)
def test_components_that_are_not_there_are_not_asked_for(tmp_path: Path, component: object) -> None:
    files = pipeline_files()
    index = json.loads(files["model_index.json"])
    files["model_index.json"] = json.dumps({**index, "safety_checker": component}).encode()
    assert judged(tmp_path, files).reasons == ()


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("CLIPImageProcessor", {"preprocessor_config.json": b"{}"}),
        ("SiglipImageProcessorFast", {"preprocessor_config.json": b"{}"}),
        ("CLIPFeatureExtractor", {"preprocessor_config.json": b"{}"}),
        ("Qwen2VLProcessor", {"processor_config.json": b"{}"}),
        ("T5TokenizerFast", {"tokenizer.json": b"{}"}),
        ("TokenizersBackend", {"tokenizer_config.json": b"{}"}),
        ("DPMSolverMultistepScheduler", {"scheduler_config.json": b"{}"}),
        ("AClassOfTomorrow", {"scheduler_config.json": b"{}"}),
        ("AModelOfTomorrow", {"config.json": b"{}", "weights.safetensors": WEIGHTS}),
        ("CLIPTextModel", {"config.json": b"{}", "pytorch_model.bin": b"x"}),
        ("OnnxRuntimeModel", {"model.onnx": b"x"}),
    ],
)
def test_a_class_needs_what_its_library_writes(tmp_path: Path, kind: str, files: Files) -> None:
    inside = {f"part/{name}": data for name, data in files.items()}
    assert judged(tmp_path, {"model_index.json": model_index(part=["diffusers", kind]), **inside}).reasons == ()


def test_a_model_without_weights_is_no_tokenizer(tmp_path: Path) -> None:
    files = {"model_index.json": model_index(part=["x", "UNet2DConditionModel"]), "part/config.json": b"{}"}
    reason = "part/: has no weights; model_index.json names a UNet2DConditionModel"
    assert judged(tmp_path, files).reasons == (reason,)


@pytest.mark.parametrize("kind", ["Qwen2Tokenizer", "Qwen2TokenizerFast", "CLIPTokenizer", "T5Tokenizer"])
def test_a_tokenizer_without_words_lacks_them(tmp_path: Path, kind: str) -> None:
    # transformers makes an empty one, and another picture is drawn.
    files = {"model_index.json": model_index(part=["x", kind]), "part/tokenizer_config.json": b"{}"}
    (reason,) = judged(tmp_path, files).reasons
    assert reason.startswith(f"part/tokenizer.json: is missing; a {kind} has no words without")


def test_a_tokenizer_that_makes_its_words_of_bytes_needs_none(tmp_path: Path) -> None:
    files = {"model_index.json": model_index(part=["x", "ByT5Tokenizer"]), "part/tokenizer_config.json": b"{}"}
    assert judged(tmp_path, files).reasons == ()


def test_shards_whose_index_is_missing_cannot_be_loaded(tmp_path: Path) -> None:
    shards = {f"part/model-0000{number}-of-00002.safetensors": WEIGHTS for number in (1, 2)}
    files = {"model_index.json": model_index(part=["x", "Qwen3Model"]), "part/config.json": b"{}", **shards}
    (reason,) = judged(tmp_path / "a", files).reasons
    assert reason.startswith("part/model.safetensors.index.json: is missing; shards are there")
    assert judged(tmp_path / "b", {**files, "part/model.safetensors": WEIGHTS}).reasons == ()


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_a_configuration_with_weights_is_a_list_of_its_own(tmp_path: Path, weights: str) -> None:
    answer = judged(tmp_path, {"config.json": b"{}", weights: WEIGHTS})
    assert (answer.reasons, answer.satisfied) == ((), True)


def test_files_without_any_index_satisfy_nothing(tmp_path: Path) -> None:
    answer = judged(tmp_path, {"data/train.parquet": b"x", "README.md": b"x"})
    assert (answer.reasons, answer.satisfied) == ((), False)


def test_an_index_of_pickled_shards_counts_like_any_other(tmp_path: Path) -> None:
    shards = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    files = {"config.json": b"{}", "pytorch_model.bin.index.json": index_of(*shards), shards[0]: b"pickled"}
    assert f"{shards[1]}: is missing; pytorch_model.bin.index.json names it" in judged(tmp_path, files).reasons


def test_pickled_shards_beside_safetensors_were_not_asked_for(tmp_path: Path) -> None:
    index = index_of("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    answer = judged(
        tmp_path, {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin.index.json": index}
    )
    assert (answer.reasons, answer.satisfied) == ((), True)


def test_a_part_of_the_pickled_shards_beside_safetensors_is_a_download_cut_short(tmp_path: Path) -> None:
    files = {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin.index.json": index_of("a.bin", "b.bin"),
    }
    reasons = judged(tmp_path, {**files, "a.bin": b"x"}).reasons
    assert reasons == ("b.bin: is missing; pytorch_model.bin.index.json names it",)


def test_a_shard_is_missed_by_the_names_of_the_others_where_the_index_is_missing_too(tmp_path: Path) -> None:
    files = {"config.json": b"{}", "model-00001-of-00003.safetensors": WEIGHTS}
    reasons = judged(tmp_path, files).reasons
    assert [reason.split(":")[0] for reason in reasons] == [
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ]


def test_a_name_that_claims_thousands_of_shards_gives_few_reasons(tmp_path: Path) -> None:
    assert len(judged(tmp_path, {"model-00001-of-99999.safetensors": WEIGHTS}).reasons) == 20


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    def refuse(name: str) -> int:
        raise PermissionError(13, "Permission denied", name)

    sizes = {"model_index.json": 10, "model.safetensors": 100}
    assert judge(Content(sizes, refuse)).reasons == (
        "model_index.json: cannot be read: Permission denied",
        "model.safetensors: its header cannot be read: Permission denied",
    )

"""Which bytes are which tensors: every byte of every tensor is read once, into its place, in the model's dtype."""

import json
import random
import subprocess
import sys

import pytest

from tests.support.safetensors_edit import write_safetensors
from zimage_syncd.probe import weights
from zimage_syncd.probe.direct import NotDirect, plan_directly
from zimage_syncd.probe.files import Component, PipelineIndex
from zimage_syncd.probe.weights import WeightsUnclear, find_weights


@pytest.fixture
def place(tmp_path):
    (tmp_path / "part").mkdir()
    return tmp_path / "part"


def test_a_component_without_weights_has_none(place):
    (place / "tokenizer.json").write_text("{}")
    assert find_weights(str(place.parent), "part", "transformers").tensors == ()


def test_every_byte_is_in_one_piece_and_pieces_are_as_small_as_asked(place, monkeypatch):
    monkeypatch.setattr(weights, "PIECE_BYTES", 1000)
    chosen = random.Random(5)
    sizes = [0, 1, 7, 16, 999, 1000, 1001, 5003, *(chosen.randrange(3000) for _ in range(40))]
    tensors = {f"t{number}": ("U8", [size], chosen.randbytes(size)) for number, size in enumerate(sizes)}
    write_safetensors(str(place / "model.safetensors"), tensors)
    found = find_weights(str(place.parent), "part", "transformers")
    content = (place / "model.safetensors").read_bytes()
    made = [bytearray(stored.stored_bytes) for stored in found.tensors]
    covered = 0
    for piece in found.pieces:
        assert 0 < piece.size_bytes <= 1000
        read = content[piece.offset : piece.offset + piece.size_bytes]
        for part in piece.parts:
            assert part.first_byte % 16 == 0
            made[part.tensor][part.first_byte : part.first_byte + part.size_bytes] = read[
                part.piece_offset : part.piece_offset + part.size_bytes
            ]
            covered += part.size_bytes
    assert covered == sum(sizes)
    assert {stored.name: bytes(data) for stored, data in zip(found.tensors, made, strict=True)} == {
        name: data for name, (_, _, data) in tensors.items()
    }


def test_shards_are_those_of_the_index_and_others_are_left_alone(place):
    for name in ("one", "two", "other"):
        write_safetensors(str(place / f"{name}.safetensors"), {name: ("F32", [2], bytes(8))})
    index = {"weight_map": {"one": "one.safetensors", "two": "two.safetensors"}}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert [stored.name for stored in find_weights(str(place.parent), "part", "diffusers").tensors] == ["one", "two"]


@pytest.mark.parametrize("name", ["model.fp16.safetensors", "pytorch_lora_weights.safetensors"])
def test_unusual_names_are_for_the_libraries(place, name):
    write_safetensors(str(place / name), {"one": ("F32", [2], bytes(8))})
    with pytest.raises(WeightsUnclear):
        find_weights(str(place.parent), "part", "transformers")


@pytest.mark.parametrize(("library", "taken"), [("diffusers", "one"), ("transformers", "two")])
def test_of_two_sets_of_weights_the_librarys_own_is_taken_and_nothing_else_will_do(place, library, taken):
    names = {"one": "diffusion_pytorch_model.safetensors", "two": "model.safetensors"}
    for tensor, name in names.items():
        write_safetensors(str(place / name), {tensor: ("F32", [2], bytes(8))})
    assert [stored.name for stored in find_weights(str(place.parent), "part", library).tensors] == [taken]
    (place / names[taken]).unlink()
    with pytest.raises(WeightsUnclear, match="unusual names"):
        find_weights(str(place.parent), "part", library)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "/etc/passwd", 3])
def test_an_index_names_files_of_its_own_directory_only(place, shard):
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"one": shard}}))
    with pytest.raises(WeightsUnclear):
        find_weights(str(place.parent), "part", "transformers")


def test_a_tensor_in_two_shards_and_eight_bit_floats_are_for_the_libraries(place):
    for name in ("one", "two"):
        write_safetensors(str(place / f"{name}.safetensors"), {"same": ("F32", [2], bytes(8))})
    index = {"weight_map": {"same": "one.safetensors", "more": "two.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsUnclear, match="several"):
        find_weights(str(place.parent), "part", "transformers")
    (place / "model.safetensors.index.json").unlink()
    write_safetensors(str(place / "model.safetensors"), {"small": ("F8_E4M3", [8], bytes(8))})
    with pytest.raises(WeightsUnclear, match="F8_E4M3"):
        find_weights(str(place.parent), "part", "transformers")


@pytest.mark.probe
@pytest.mark.parametrize("case", ["whole", "cut off"])
def test_tensors_arrive_whole_and_converted_or_the_file_is_named(place, case):
    command = [sys.executable, "-m", "tests.support.reading_cases", case, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr


def test_finding_weights_needs_no_torch():
    code = "import sys, zimage_syncd.probe.direct, zimage_syncd.probe.weights; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


@pytest.mark.parametrize("kind", ["quantized", "adapter"])
def test_a_component_that_its_library_changes_while_loading_is_for_that_library(tmp_path, kind):
    kinds = {
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
        "text_encoder": ("transformers", "Qwen3Model"),
        "tokenizer": ("transformers", "Qwen2Tokenizer"),
        "transformer": ("diffusers", "ZImageTransformer2DModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    for name in kinds:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"quantization_config": null}')
    parts = tuple(Component(name, library, of_class, 0, False) for name, (library, of_class) in kinds.items())
    index = PipelineIndex("ZImagePipeline", parts)
    assert plan_directly(str(tmp_path), index) == ()
    if kind == "quantized":
        (tmp_path / "transformer" / "config.json").write_text('{"quantization_config": {"quant_method": "torchao"}}')
    else:
        (tmp_path / "text_encoder" / "adapter_config.json").write_text("{}")
    with pytest.raises(
        NotDirect, match="its configuration quantizes it" if kind == "quantized" else "there is an adapter"
    ):
        plan_directly(str(tmp_path), index)

"""The levels `load` and `generate` on a processor, with the real classes and the tiny pipeline.

A probe imports torch, which takes seconds: so most are forked from one that has it, and each shows several things.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import zimage_syncd
from tests.support.forked_probe import probe_ahead
from tests.support.pictures import AT
from tests.support.safetensors_edit import overwrite_tensor, rename_tensors
from zimage_syncd.layouts.safetensors_header import read_safetensors
from zimage_syncd.model.health import HealthLevel, HealthOutcome, conditions_of
from zimage_syncd.model.health_json import decode_result, encode_request
from zimage_syncd.model.picture import SIMILAR_BELOW, Likeness, Reference
from zimage_syncd.probe.offline import REFUSED

pytestmark = pytest.mark.probe

ENTRY = os.path.join(os.path.dirname(zimage_syncd.__file__), "probe", "__main__.py")
VAE = "vae/diffusion_pytorch_model.safetensors"
NAN_BF16 = b"\xc0\x7f"


def probe(request_, *before):
    """Runs the probe as the daemon does, and returns its result and standard error."""
    command = [*before, sys.executable, ENTRY]
    answer = subprocess.run(command, input=encode_request(request_), capture_output=True, timeout=170, check=False)
    assert answer.returncode == 0, answer.stderr.decode()
    return decode_result(answer.stdout), answer.stderr.decode()


def pixels(path):
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


def stored_tensors(directory):
    """How many tensors the files hold."""
    count = 0
    for path in Path(directory).rglob("*.safetensors"):
        with open(path, "rb") as stream:
            count += len(read_safetensors(stream.fileno(), path.stat().st_size))
    return count


def without_network():
    """A command prefix that gives a process a network of its own, with nothing in it; empty where that is forbidden."""
    prefix = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None:
        return []
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else []


def as_hugging_face_lays_it_out(repository, root):
    """A snapshot of relative links into `blobs/`, as huggingface_hub makes it; returns the snapshot's directory."""
    blobs = os.path.join(root, "models--Tongyi-MAI--Z-Image-Turbo", "blobs")
    snapshot = os.path.join(os.path.dirname(blobs), "snapshots", "0123456789abcdef")
    os.makedirs(blobs)
    for parent, _, names in os.walk(repository):
        for name in names:
            path = os.path.join(parent, name)
            blob = os.path.join(blobs, os.path.relpath(path, repository).replace("/", "."))
            link = os.path.join(snapshot, os.path.relpath(path, repository))
            shutil.copyfile(path, blob)
            os.makedirs(os.path.dirname(link), exist_ok=True)
            os.symlink(os.path.relpath(blob, os.path.dirname(link)), link)
    return snapshot


def test_a_picture_is_drawn_without_any_network_and_kept_with_what_made_it(tiny, request_for, tmp_path):
    from PIL import Image

    snapshot = as_hugging_face_lays_it_out(tiny, str(tmp_path / "hub"))
    request_ = request_for(snapshot, level=HealthLevel.AUTO, size_px=96, steps=3, prompt="灯塔, oil painting")
    result, errors = probe(request_, *without_network())
    assert (result.outcome, result.level) == (HealthOutcome.OK, HealthLevel.GENERATE)
    assert result.detail == "there is no reference yet that the picture could be compared with"
    assert (result.device, result.dtype) == ("cpu", "float32")
    assert [name for name, _ in result.timings_s] == [
        *("files", "import torch", "device", "import", "read", "transfer", "check tensors", "assemble"),
        *("text encoding", "denoising", "decoding", "save", "compare", "total"),
    ]
    assert result.peak_memory_bytes > 100 * 2**20
    assert result.checked_tensors == stored_tensors(snapshot)
    assert dict(result.versions)["class"] == "diffusers.ZImagePipeline"
    assert result.picture == request_.picture
    with Image.open(result.picture) as picture:
        assert picture.size == (96, 96)
        texts = picture.text
    assert texts["prompt"] == "灯塔, oil painting"
    assert (texts["seed"], texts["steps"], texts["size_px"]) == ("42", "3", "96")
    assert (texts["repo"], texts["revision"]) == ("Tongyi-MAI/Z-Image-Turbo", "0123456789abcdef")
    assert "torch" in texts["versions"]
    assert os.listdir(os.path.dirname(result.picture)) == ["picture.png"]
    # Nothing was tried and refused either, and libraries are silent.
    assert errors == ""


def test_what_is_loaded_directly_draws_the_same_picture_as_from_pretrained(tiny, request_for, tmp_path):
    directly, errors = probe_ahead(request_for(tiny, picture=str(tmp_path / "directly.png")))
    assert "again" not in errors
    plainly = subprocess.run(
        [sys.executable, ENTRY, "--plainly", "a test"],
        input=encode_request(request_for(tiny, picture=str(tmp_path / "plainly.png"))),
        capture_output=True,
        timeout=170,
        check=True,
    )
    by_library = decode_result(plainly.stdout)
    assert (directly.outcome, by_library.outcome) == (HealthOutcome.OK, HealthOutcome.OK)
    assert "plainly" not in directly.detail
    assert "loaded plainly, for a test" in by_library.detail
    assert (directly.drawn_px, directly.drawn_steps) == (64, 2)
    assert "read" in dict(directly.timings_s)
    assert "load" in dict(by_library.timings_s)
    assert pixels(directly.picture) == pixels(by_library.picture)


def test_a_text_encoder_saved_with_its_head_is_loaded_directly(own_tiny, request_for):
    place = Path(own_tiny, "text_encoder")
    index = json.loads((place / "model.safetensors.index.json").read_text())
    for shard in set(index["weight_map"].values()):
        rename_tensors(str(place / shard), lambda name: f"model.{name}")
    index["weight_map"] = {f"model.{name}": shard for name, shard in index["weight_map"].items()}
    (place / "model.safetensors.index.json").write_text(json.dumps(index))
    result, errors = probe_ahead(request_for(own_tiny, level=HealthLevel.LOAD))
    assert (result.outcome, result.detail, errors) == (HealthOutcome.OK, "", "")


@pytest.mark.long  # `health` as a command does it, too, with a painter
def test_drawn_again_it_is_the_same_and_a_zeroed_tensor_makes_another_picture(own_tiny, request_for, tmp_path):
    request_ = request_for(own_tiny, level=HealthLevel.GENERATE, side_by_side=str(tmp_path / "both.png"))
    first, _ = probe_ahead(request_)
    assert (first.outcome, first.comparison) == (HealthOutcome.OK, None)
    kept = str(tmp_path / "reference.png")
    shutil.copyfile(first.picture, kept)
    conditions = conditions_of(request_, first.device, first.dtype, first.versions)
    reference = Reference("a" * 64, conditions, first.picture_facts, "b" * 64, AT, kept)
    request_ = replace(request_, references=(reference,))
    again, _ = probe_ahead(request_)
    assert again.outcome is HealthOutcome.OK
    assert (again.comparison.likeness, again.comparison.distance) == (Likeness.SAME, 0.0)
    # The smallest number there is: a matrix of zeros would not have been loaded.
    overwrite_tensor(os.path.join(own_tiny, VAE), "decoder.mid_block.resnets.0.conv1.weight", b"\x01\0")
    damaged, _ = probe_ahead(request_)
    assert (damaged.outcome, damaged.level) == (HealthOutcome.DIFFERENT_PICTURE, HealthLevel.GENERATE)
    assert damaged.comparison.distance > SIMILAR_BELOW
    assert damaged.picture == request_.picture
    assert damaged.comparison.side_by_side == request_.side_by_side
    assert Path(request_.side_by_side).stat().st_size > 0


def test_a_modelscope_snapshot_is_loaded_with_modelscopes_class_and_asks_no_hub(tiny, request_for):
    result, errors = probe(request_for(tiny, layout="modelscope", level=HealthLevel.GENERATE))
    assert (result.outcome, result.level) == (HealthOutcome.OK, HealthLevel.GENERATE)
    assert dict(result.versions)["class"] == "modelscope.ZImagePipeline"
    assert Path(result.picture).stat().st_size > 0
    assert REFUSED not in errors


def test_a_constant_picture_is_wrong_and_not_kept(own_tiny, request_for):
    # The smallest number there is: a matrix of zeros would not have been loaded.
    overwrite_tensor(os.path.join(own_tiny, VAE), "decoder.conv_out.weight", b"\x01\0")
    request_ = request_for(own_tiny, level=HealthLevel.GENERATE)
    result, errors = probe_ahead(request_)
    assert (result.outcome, result.level) == (HealthOutcome.WRONG_PICTURE, HealthLevel.GENERATE)
    assert "one colour" in result.detail
    # This project's own loader is not believed when it says so.
    assert "loading again with the libraries' own loaders, for wrong_picture" in errors
    assert result.picture == ""
    assert not os.path.exists(request_.picture)


def test_one_nan_in_a_weight_fails_the_load_and_names_the_tensor(own_tiny, request_for):
    overwrite_tensor(os.path.join(own_tiny, VAE), "decoder.conv_in.weight", NAN_BF16, count=1)
    result, _ = probe_ahead(request_for(own_tiny, level=HealthLevel.LOAD))
    assert (result.outcome, result.level) == (HealthOutcome.LOAD_FAILED, HealthLevel.LOAD)
    assert "vae: decoder.conv_in.weight" in result.detail


def test_a_weight_matrix_of_nothing_but_zeros_fails_the_load(own_tiny, request_for):
    overwrite_tensor(os.path.join(own_tiny, VAE), "decoder.conv_in.weight", b"\0\0")
    result, _ = probe_ahead(request_for(own_tiny, level=HealthLevel.LOAD))
    assert (result.outcome, result.level) == (HealthOutcome.LOAD_FAILED, HealthLevel.LOAD)
    assert "vae: decoder.conv_in.weight holds nothing but zeros" in result.detail


@pytest.mark.parametrize("component", ["text_encoder", pytest.param("vae", marks=pytest.mark.long)])
def test_a_tensor_that_no_file_has_fails_the_load_and_is_named(own_tiny, request_for, component):
    # transformers would fill it with random numbers, and draw.
    place = Path(own_tiny, component)
    gone = "layers.0.mlp.down_proj.weight" if component == "text_encoder" else "decoder.conv_in.weight"
    for path in place.glob("*.safetensors"):
        rename_tensors(str(path), lambda name: f"{name}.of_another_model" if name == gone else name)
    for path in place.glob("*.index.json"):
        path.write_text(path.read_text().replace(gone, f"{gone}.of_another_model"))
    result, _ = probe_ahead(request_for(own_tiny))
    assert (result.outcome, result.level) == (HealthOutcome.LOAD_FAILED, HealthLevel.LOAD)
    assert f"{component}: no file has {gone}" in result.detail


@pytest.mark.parametrize("name", [pytest.param("a\0b", marks=pytest.mark.long), "\ud800"])
def test_a_tensor_with_a_name_that_is_no_argument_is_loaded_as_the_libraries_do(own_tiny, request_for, name):
    gone = "layers.0.mlp.down_proj.weight"
    for path in Path(own_tiny, "text_encoder").glob("*.safetensors"):
        rename_tensors(str(path), lambda found: name if found == gone else found)
    index = Path(own_tiny, "text_encoder", "model.safetensors.index.json")
    index.write_text(index.read_text().replace(f'"{gone}"', json.dumps(name)))
    result, _ = probe_ahead(request_for(own_tiny))
    assert (result.outcome, result.level) == (HealthOutcome.LOAD_FAILED, HealthLevel.LOAD)


def test_a_model_that_does_not_fit_its_configuration_fails_the_load(own_tiny, request_for):
    path = Path(own_tiny, "transformer", "config.json")
    path.write_text(path.read_text().replace('"dim": 96', '"dim": 128'))
    result, _ = probe_ahead(request_for(own_tiny, level=HealthLevel.LOAD))
    assert (result.outcome, result.level) == (HealthOutcome.LOAD_FAILED, HealthLevel.LOAD)
    assert "\n" not in result.detail
    assert result.detail

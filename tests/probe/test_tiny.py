"""The tiny pipeline has the shape of the real one."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from zimage_syncd.probe.files import examine

pytestmark = pytest.mark.probe


def digests(directory):
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as stream:
                found[os.path.relpath(path, directory)] = hashlib.sha256(stream.read()).hexdigest()
    return found


def test_it_is_small_sharded_and_of_the_real_classes(tiny):
    found = digests(tiny)
    assert 4_000_000 < sum(os.path.getsize(os.path.join(tiny, name)) for name in found) < 8_000_000
    assert sum(name.startswith("transformer/") and name.endswith(".safetensors") for name in found) == 3
    assert sum(name.startswith("text_encoder/") and name.endswith(".safetensors") for name in found) == 2
    assert {"transformer/diffusion_pytorch_model.safetensors.index.json", "tokenizer/tokenizer.json"} <= set(found)
    with open(os.path.join(tiny, "model_index.json"), encoding="utf-8") as stream:
        index = json.load(stream)
    assert {name: entry for name, entry in index.items() if not name.startswith("_")} == {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    assert examine(tiny).damage == []


def test_a_seed_gives_the_same_bytes_each_time(tiny, tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = (
        "import sys\nfrom zimage_syncd.probe import tiny\n"
        "print(len(tiny.build(sys.argv[1])))\ntiny.build(sys.argv[2], seed=1)\n"
    )
    again, other = str(tmp_path / "again"), str(tmp_path / "other")
    command = [sys.executable, "-c", code, again, other]
    answer = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=170)
    assert digests(again) == digests(tiny)
    assert int(answer.stdout) == len(digests(tiny))
    changed = {name for name, digest in digests(other).items() if digest != digests(tiny)[name]}
    assert changed == {name for name in changed if name.endswith(".safetensors")}
    assert len(changed) == 6

"""Valid safetensors files and a tiny pipeline's files, without torch."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping


def safetensors_bytes(tensors: Mapping[str, bytes]) -> bytes:
    """A safetensors file of one-dimensional U8 tensors."""
    header: dict[str, object] = {}
    offset = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def pipeline_files(seed: int = 1) -> dict[str, bytes]:
    """The files of a pipeline in Z-Image's arrangement: transformer in two shards, text encoder, VAE, and the rest."""
    source = random.Random(seed)

    def weights(*names: str) -> bytes:
        return safetensors_bytes({name: source.randbytes(4000) for name in names})

    def text(document: object) -> bytes:
        return json.dumps(document, indent=2).encode()

    shards = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    return {
        "README.md": b"# tiny\n",
        "model_index.json": text(
            {
                "_class_name": "ZImagePipeline",
                "_diffusers_version": "0.36.0",
                "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
                "text_encoder": ["transformers", "Qwen3Model"],
                "tokenizer": ["transformers", "Qwen2Tokenizer"],
                "transformer": ["diffusers", "ZImageTransformer2DModel"],
                "vae": ["diffusers", "AutoencoderKL"],
            }
        ),
        "scheduler/scheduler_config.json": text({"shift": 3.0}),
        "text_encoder/config.json": text({"model_type": "qwen3"}),
        "text_encoder/model.safetensors": weights("embed"),
        "tokenizer/tokenizer_config.json": text({"model_max_length": 512}),
        "tokenizer/vocab.json": text({"a": 0}),
        "transformer/config.json": text({"dim": 64}),
        f"transformer/{shards[0]}": weights("one"),
        f"transformer/{shards[1]}": weights("two"),
        "transformer/diffusion_pytorch_model.safetensors.index.json": text(
            {"metadata": {"total_size": 8000}, "weight_map": {"one": shards[0], "two": shards[1]}}
        ),
        "vae/config.json": text({"latent_channels": 16}),
        "vae/diffusion_pytorch_model.safetensors": weights("vae"),
    }

"""A twin of Z-Image-Turbo at full size, with random weights: `python -m benchmarks.twin HF_HOME [--scale tiny|full]`.

The real classes, shapes, dtypes and shards (32.83 GB; the real repository has 32.88 GB), laid out as huggingface_hub
lays out a download. It loads and draws as the real one does, at the same speed; what it draws is noise. Nothing is
downloaded. Full size needs a GPU with 30 GB of memory to be filled in a minute, and 33 GB where it is written.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import shutil
import sys
import time

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

from zimage_syncd.probe import tiny

REPO = "Tongyi-MAI/Z-Image-Turbo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

_PIECE = 16 * 2**20


def build_full(directory: str, device: str) -> None:
    """Writes the pipeline's files at full size.

    Sources of the shapes: the defaults of diffusers' `ZImageTransformer2DModel`; Qwen3-4B's configuration; the
    autoencoder of FLUX.1, which Z-Image uses.

    Args:
        directory: made if it is not there.
        device: where the weights are made, such as cuda.
    """
    transformers.utils.logging.disable_progress_bar()
    generator = torch.Generator(device).manual_seed(0)
    with torch.device(device):
        transformer = ZImageTransformer2DModel().float()
        text_encoder = Qwen3Model(_qwen3_4b()).to(torch.bfloat16)
        vae = _autoencoder().to(torch.bfloat16)
    for module in (transformer, text_encoder, vae):
        tiny.fill(module, generator)
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tiny.tokenizer(),
        transformer=transformer,
    )
    # As many shards, of the same sizes, as the real repository has.
    transformer.save_pretrained(os.path.join(directory, "transformer"), max_shard_size="10GB")
    text_encoder.save_pretrained(os.path.join(directory, "text_encoder"), max_shard_size="4GB")
    vae.save_pretrained(os.path.join(directory, "vae"))
    pipeline.tokenizer.save_pretrained(os.path.join(directory, "tokenizer"))
    pipeline.scheduler.save_pretrained(os.path.join(directory, "scheduler"))
    pipeline.save_config(directory)


def _qwen3_4b() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=151936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    )


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        norm_num_groups=32,
        latent_channels=16,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def lay_out(directory: str, home: str) -> str:
    """Moves a repository's files into a Hugging Face cache, as huggingface_hub 2.4 would have downloaded them.

    Args:
        directory: the files; on the same file system, and gone afterwards.
        home: what HF_HOME is to be.

    Returns:
        The snapshot's directory.
    """
    base = os.path.join(home, "hub", "models--" + REPO.replace("/", "--"))
    names = sorted(
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, files in os.walk(directory)
        for name in files
    )
    with concurrent.futures.ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digests, (os.path.join(directory, name) for name in names)))
    for place in ("blobs", "refs", "trees"):
        os.makedirs(os.path.join(base, place), exist_ok=True)
    tree: dict[str, dict[str, object]] = {}
    for name, (size_bytes, sha256, sha1) in zip(names, digests, strict=True):
        in_lfs = name.endswith(".safetensors")
        etag = sha256 if in_lfs else sha1
        os.replace(os.path.join(directory, name), os.path.join(base, "blobs", etag))
        link = os.path.join(base, "snapshots", COMMIT, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(os.path.relpath(os.path.join(base, "blobs", etag), os.path.dirname(link)), link)
        tree[name] = {"size": size_bytes, "blob_id": sha1}
        if in_lfs:
            tree[name] |= {"lfs_sha256": sha256, "lfs_size": size_bytes}
    with open(os.path.join(base, "trees", f"{COMMIT}.json"), "w", encoding="utf-8") as stream:
        json.dump({"format_version": 1, "files": tree}, stream)
    with open(os.path.join(base, "refs", "main"), "w", encoding="utf-8") as stream:
        stream.write(COMMIT)
    shutil.rmtree(directory)
    return os.path.join(base, "snapshots", COMMIT)


def _digests(path: str) -> tuple[int, str, str]:
    """Size in bytes, SHA-256, and Git's SHA-1 of small files (of large ones: of the name, nobody looks at it)."""
    size_bytes = os.path.getsize(path)
    sha256 = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            sha256.update(piece)
    header = b"blob %d\0" % size_bytes
    with open(path, "rb") as stream:
        content = stream.read() if size_bytes < _PIECE else path.encode()
    return size_bytes, sha256.hexdigest(), hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def main(arguments: list[str]) -> int:
    """Builds a twin and prints its directory, its bytes and the seconds that it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.twin", description=__doc__)
    parser.add_argument("home", help="HF_HOME to write to")
    parser.add_argument("--scale", choices=("full", "tiny"), default="full")
    options = parser.parse_args(arguments)
    diffusers.utils.logging.disable_progress_bar()
    began_s = time.perf_counter()
    building = os.path.join(options.home, "building")
    os.makedirs(building)
    if options.scale == "full":
        build_full(building, "cuda" if torch.cuda.is_available() else "cpu")
    else:
        tiny.build(building)
    size_bytes = sum(os.path.getsize(os.path.join(p, name)) for p, _, names in os.walk(building) for name in names)
    snapshot = lay_out(building, options.home)
    sys.stdout.write(f"{snapshot}\n{size_bytes} bytes, {time.perf_counter() - began_s:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Builds a tiny random Z-Image pipeline of the real classes: `python -m zimage_syncd.probe.tiny DIRECTORY [--seed N]`.

About 6 MB, sharded as the real one is, in the real data types. It generates at any size from 64 px on a processor in
seconds. Nothing is downloaded, and one seed gives the same bytes each time with the same library versions. What it
draws is noise: this is for trying the machinery, not for looking at.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer, Qwen3Config, Qwen3Model

MAX_SHARD_SIZE = "1500KB"
"""Gives the transformer three shards and the text encoder two; the real ones have three each (10 GB a shard)."""

TEXT_WIDTH = 128
"""Hidden size of the text encoder, which the transformer takes captions of; 2560 in the real one."""

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
"""The shape of Qwen3's own, which ZImagePipeline calls with `enable_thinking=True`."""


def build(directory: str, seed: int = 0) -> list[str]:
    """Writes the pipeline as the files of a repository.

    Args:
        directory: absolute or relative path; made if it is not there.
        seed: of the weights, 0 to 2**63 - 1.

    Returns:
        The written files' names from `directory`, sorted, with `/` between their parts.
    """
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(seed)
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=_autoencoder(generator),
        text_encoder=_text_encoder(generator),
        tokenizer=tokenizer(),
        transformer=_transformer(generator),
    )
    pipeline.save_pretrained(directory, safe_serialization=True, max_shard_size=MAX_SHARD_SIZE)
    names = (
        os.path.relpath(os.path.join(parent, name), directory)
        for parent, _, files in os.walk(directory)
        for name in files
    )
    return sorted(names)


def _transformer(generator: torch.Generator) -> ZImageTransformer2DModel:
    """Float32, as the real repository stores it; four layers in all instead of 34."""
    model = ZImageTransformer2DModel(
        in_channels=16,
        dim=96,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[8, 12, 12],
        axes_lens=[1024, 512, 512],
    )
    fill(model, generator)
    return model.to(torch.float32).eval()


def _text_encoder(generator: torch.Generator) -> Qwen3Model:
    config = Qwen3Config(
        vocab_size=256 + len(SPECIAL_TOKENS) + 3,
        hidden_size=TEXT_WIDTH,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = Qwen3Model(config)
    fill(model, generator)
    return model.to(torch.bfloat16).eval()


def _autoencoder(generator: torch.Generator) -> AutoencoderKL:
    """Four blocks, so eight pixels a latent as in the real one; scaling and shift are the real ones."""
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    fill(model, generator)
    return model.to(torch.bfloat16).eval()


def fill(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Normal weights scaled by their fan-in, ones for norms, zeros for biases, in the order of the names.

    So activations stay near one through all layers, and the picture is neither constant nor NaN.
    """
    with torch.no_grad():
        for name, tensor in sorted(model.named_parameters()):
            if name.endswith("bias"):
                tensor.zero_()
            elif tensor.ndim == 1:
                tensor.fill_(1.0)
            else:
                fan_in = math.prod(tensor.shape[1:])
                noise = torch.randn(tensor.shape, generator=generator, device=generator.device)
                tensor.copy_(noise / math.sqrt(fan_in))


def tokenizer() -> PreTrainedTokenizerBase:
    """Qwen2's tokenizer with one token for each byte and no merges.

    It goes through files because the constructors of transformers 4 and 5 differ, and their files do not.
    """
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": 2048,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHAT_TEMPLATE,
    }
    with tempfile.TemporaryDirectory(prefix="zimage-syncd-tokenizer-") as scratch:
        backend.save(os.path.join(scratch, "tokenizer.json"))
        _write(scratch, "tokenizer_config.json", json.dumps(settings))
        _write(scratch, "vocab.json", json.dumps(vocabulary))
        _write(scratch, "merges.txt", "#version: 0.2\n")
        tokenizer: PreTrainedTokenizerBase = Qwen2Tokenizer.from_pretrained(scratch, local_files_only=True)
    tokenizer.name_or_path = ""
    return tokenizer


def _write(directory: str, name: str, text: str) -> None:
    with open(os.path.join(directory, name), "w", encoding="utf-8") as stream:
        stream.write(text)


def main(arguments: list[str]) -> int:
    """Builds a pipeline and prints its files."""
    parser = argparse.ArgumentParser(prog="python -m zimage_syncd.probe.tiny", description=__doc__)
    parser.add_argument("directory", help="where to write the repository's files")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    options = parser.parse_args(arguments)
    for name in build(options.directory, options.seed):
        sys.stdout.write(f"{os.path.getsize(os.path.join(options.directory, name)):>9} {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a component of a diffusers pipeline needs: which configuration, and whether weights.

`model_index.json` names a class for each subdirectory; the class tells what its `save_pretrained` writes (diffusers
0.42, transformers 5). A class that nobody knows here needs what a model needs, unless its directory holds nothing but
one of the other configurations.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

WEIGHTS = (".safetensors", ".bin", ".msgpack", ".h5", ".onnx", ".gguf", ".pt", ".pth", ".ckpt", ".pb", ".xml")
"""Ends of names of weights, in whatever form."""

WEIGHT_INDEXES = (".safetensors.index.json", ".bin.index.json")
"""Ends of names of weight indexes."""

_SCHEDULER = ("scheduler_config.json",)
_TOKENIZER = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "spiece.model")
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json")

_CONFIGURATIONS = {
    "Scheduler": _SCHEDULER,
    "Solver": _SCHEDULER,
    "Tokenizer": _TOKENIZER,
    "TokenizerFast": _TOKENIZER,
    "TokenizersBackend": _TOKENIZER,
    "SentencePieceBackend": _TOKENIZER,
    "PythonBackend": _TOKENIZER,
    "Processor": _PROCESSOR,
    "ProcessorFast": _PROCESSOR,
    "FeatureExtractor": _PROCESSOR,
}
"""Configurations, of which one suffices, by the end of a class's name; these classes have no weights."""

_VOCABULARIES = {
    "CLIPTokenizer": ("tokenizer.json", "vocab.json"),
    "Qwen2Tokenizer": ("tokenizer.json", "vocab.json"),
    "T5Tokenizer": ("tokenizer.json", "spiece.model"),
}
"""Of which one has to be there, for tokenizers that nothing else can fill. transformers 5 makes one without words where
none is, says nothing, and another picture is drawn."""

_SHARD = re.compile(r"(?P<base>model|diffusion_pytorch_model)-\d{5}-of-\d{5}\.safetensors")
"""What the libraries read only by way of `<base>.safetensors.index.json`."""

_WITHOUT_CONFIGURATION = ("OnnxRuntimeModel",)
"""Classes that keep weights alone (diffusers, onnx_utils.py)."""


def component_reasons(name: str, kind: str, inside: Collection[str]) -> Iterator[str]:
    """What a component lacks.

    Args:
        name: its directory.
        kind: its class.
        inside: names of its files, from its directory.
    """
    if not inside:
        yield f"{name}/: is missing; model_index.json names it"
        return
    configurations = _configurations(kind, inside)
    if configurations is not None:
        if not any(configuration in inside for configuration in configurations):
            yield f"{name}/{configurations[0]}: is missing; model_index.json names a {kind}"
        vocabularies = _VOCABULARIES.get(kind.removesuffix("Fast"), ())
        if vocabularies and not any(vocabulary in inside for vocabulary in vocabularies):
            yield f"{name}/{vocabularies[0]}: is missing; a {kind} has no words without {' or '.join(vocabularies)}"
        return
    if "config.json" not in inside and kind not in _WITHOUT_CONFIGURATION:
        yield f"{name}/config.json: is missing; model_index.json names a {kind}"
    if not any(file.endswith((*WEIGHTS, *WEIGHT_INDEXES)) for file in inside):
        yield f"{name}/: has no weights; model_index.json names a {kind}"
    yield from _unlisted_shards(name, inside)


def _unlisted_shards(name: str, inside: Collection[str]) -> Iterator[str]:
    """An index that is missing, where nothing but its shards could be loaded."""
    weights = [file for file in inside if file.endswith((*WEIGHTS, *WEIGHT_INDEXES))]
    shards = [_SHARD.fullmatch(file) for file in weights]
    bases = {shard["base"] for shard in shards if shard is not None}
    if len(bases) == 1 and all(shards):
        yield f"{name}/{bases.pop()}.safetensors.index.json: is missing; shards are there, and nothing else names them"


def _configurations(kind: str, inside: Collection[str]) -> tuple[str, ...] | None:
    """Which configurations will do for a class without weights; None for a class with weights."""
    ending = max((ending for ending in _CONFIGURATIONS if kind.endswith(ending)), key=len, default=None)
    if ending is not None:
        return _CONFIGURATIONS[ending]
    others = [name for name in (*_SCHEDULER, *_TOKENIZER, *_PROCESSOR) if name in inside]
    bare = "config.json" not in inside and not any(name.endswith(WEIGHTS) for name in inside)
    return tuple(others) if others and bare else None

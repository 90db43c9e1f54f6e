"""Whether a repository's files are all there, judged by its own indexes; without torch.

Reads `model_index.json` (diffusers), `*.safetensors.index.json` and `*.bin.index.json` (weight indexes), `config.json`
(transformers) and the headers of safetensors files. `*.bin` files count and are never loaded. What an index does not
name, nobody can miss: where there is no index at all, the answer is that nothing can be told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from zimage_syncd.layouts.safetensors_header import check_safetensors

_MAX_INDEX_BYTES = 64 * 2**20
_WEIGHT_INDEXES = (".safetensors.index.json", ".bin.index.json")
_WEIGHTS = (".safetensors", ".bin", ".msgpack", ".h5", ".onnx", ".gguf", ".pt", ".pth", ".ckpt")

_WITHOUT_WEIGHTS = ("Scheduler", "Tokenizer", "Processor", "FeatureExtractor", "TokenizerFast", "Solver")
"""Endings of classes that have a configuration and no weights (diffusers, transformers)."""

_CONFIGS = {
    "Scheduler": ("scheduler_config.json",),
    "Solver": ("scheduler_config.json",),
    "Tokenizer": ("tokenizer_config.json", "tokenizer.json"),
    "TokenizerFast": ("tokenizer_config.json", "tokenizer.json"),
    "Processor": ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json"),
    "FeatureExtractor": ("preprocessor_config.json",),
}


@dataclass(frozen=True, slots=True)
class Content:
    """A repository's files, however they lie on disk."""

    sizes_bytes: Mapping[str, int]
    """Size of every file, by its name in the repository."""
    open: Callable[[str], int]
    """Gives a descriptor for reading; the caller closes it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the indexes say."""

    reasons: tuple[str, ...]
    """What is missing or does not fit; empty where nothing is."""
    checked: tuple[str, ...]
    """What was compared."""
    satisfied: bool
    """Whether an index, or a configuration with weights, was there and all of it was found."""


def judge(content: Content) -> Judgement:
    """Checks every index and every header of a repository."""
    reasons: list[str] = []
    checked: list[str] = []
    names = content.sizes_bytes
    indexes = [name for name in names if name.endswith(_WEIGHT_INDEXES)]
    if "model_index.json" in names:
        checked.append("model_index.json")
        reasons.extend(_pipeline(content))
    for name in sorted(indexes):
        checked.append(name)
        reasons.extend(_shards(content, name))
    headers = sorted(name for name in names if name.endswith(".safetensors"))
    reasons.extend(f"{name}: {trouble}" for name in headers if (trouble := _header(content, name)) is not None)
    reasons.extend(f"{name}: is empty" for name in sorted(names) if name.endswith(".bin") and names[name] == 0)
    if headers:
        checked.append(f"headers of {len(headers)} safetensors files")
    single = "config.json" in names and any("/" not in name and name.endswith(_WEIGHTS) for name in names)
    if single and not indexes:
        checked.append("config.json with weights")
    return Judgement(
        tuple(reasons), tuple(checked), not reasons and bool(checked) and _has_list(content, single=single)
    )


def _has_list(content: Content, *, single: bool) -> bool:
    indexed = any(name.endswith(_WEIGHT_INDEXES) for name in content.sizes_bytes)
    return "model_index.json" in content.sizes_bytes or indexed or single


def read_json(content: Content, name: str) -> dict[str, object] | None:
    """A JSON object of the repository; None where it is none, or too large."""
    if content.sizes_bytes[name] > _MAX_INDEX_BYTES:
        return None
    descriptor = content.open(name)
    try:
        document = json.loads(os.pread(descriptor, content.sizes_bytes[name], 0))
    except (ValueError, RecursionError):
        return None
    finally:
        os.close(descriptor)
    return document if isinstance(document, dict) else None


def _pipeline(content: Content) -> Iterable[str]:
    index = read_json(content, "model_index.json")
    if index is None:
        yield "model_index.json: is not a JSON object"
        return
    for component, value in sorted(index.items()):
        if component.startswith("_") or not isinstance(value, list) or len(value) != 2:
            continue
        library, kind = value
        if isinstance(library, str) and isinstance(kind, str):
            yield from _component(content, component, kind)


def _component(content: Content, component: str, kind: str) -> Iterable[str]:
    inside = {name.removeprefix(f"{component}/") for name in content.sizes_bytes if name.startswith(f"{component}/")}
    if not inside:
        yield f"{component}/: model_index.json names it, and it is not there"
        return
    ending = next((ending for ending in sorted(_CONFIGS, key=len, reverse=True) if kind.endswith(ending)), None)
    configs = ("config.json",) if ending is None else _CONFIGS[ending]
    if not inside.intersection(configs):
        yield f"{component}/{configs[0]}: is missing"
    needs_weights = not kind.endswith(_WITHOUT_WEIGHTS)
    if needs_weights and not any(name.endswith((*_WEIGHTS, *_WEIGHT_INDEXES)) for name in inside):
        yield f"{component}/: has no weights"


def _shards(content: Content, name: str) -> Iterable[str]:
    index = read_json(content, name)
    shards = index.get("weight_map") if index is not None else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        yield f"{name}: is not a weight index"
        return
    directory = name.rpartition("/")[0]
    for shard in sorted(set(shards.values())):
        wanted = f"{directory}/{shard}" if directory else shard
        if wanted not in content.sizes_bytes:
            yield f"{wanted}: is missing ({name.rpartition('/')[2]} names it)"


def _header(content: Content, name: str) -> str | None:
    try:
        descriptor = content.open(name)
    except OSError as error:
        return str(error.strerror)
    try:
        return check_safetensors(descriptor, content.sizes_bytes[name])
    except OSError as error:
        return f"its header cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)

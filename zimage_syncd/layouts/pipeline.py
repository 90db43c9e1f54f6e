"""Whether a repository's files are all there, judged by its own indexes; without torch.

Reads `model_index.json` (diffusers), `*.safetensors.index.json` and `*.bin.index.json` (weight indexes), `config.json`
and `adapter_config.json` beside weights (transformers, peft), the numbers in shards' names, and the headers of
safetensors files. `*.bin` files count and are never loaded. What no index names, nobody can miss: where there is none
at all, nothing can be told, and `Judgement.satisfied` is false.

A `*.bin.index.json` of which no shard is there, while the same directory has safetensors, is the alternative that was
not asked for (`ignore_patterns=["*.bin"]`), not damage.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from zimage_syncd.layouts.components import WEIGHT_INDEXES, WEIGHTS, component_reasons
from zimage_syncd.layouts.safetensors_header import check_safetensors
from zimage_syncd.layouts.walk import shown

_MAX_INDEX_BYTES = 64 * 2**20
_MAX_MISSING = 20
"""Of one series: a name may claim 99,999 others."""
_CONFIGURATIONS = ("config.json", "adapter_config.json")

_SHARD = re.compile(r"(?P<head>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<tail>.*\.(?:safetensors|bin|gguf))")
"""`model-00001-of-00003.safetensors` (`save_pretrained`), `…-00001-of-00003.gguf` (llama.cpp)."""


@dataclass(frozen=True, slots=True)
class Content:
    """A repository's files, however they lie on disk."""

    sizes_bytes: Mapping[str, int]
    """Size of every file, by its name in the repository."""
    open: Callable[[str], int]
    """Gives a descriptor for reading; the caller closes it. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the indexes say."""

    reasons: tuple[str, ...]
    """What is missing or does not fit, each with the file's name; empty where nothing is."""
    checked: tuple[str, ...]
    """What was compared, for people."""
    satisfied: bool
    """Whether an index, or a configuration with weights, was there and all of it was found."""
    components: frozenset[str]
    """Directories that `model_index.json` names."""


def judge(content: Content) -> Judgement:
    """Checks every index and every header of a repository."""
    names = content.sizes_bytes
    reasons: list[str] = []
    checked: list[str] = []
    kinds = _pipeline(content, reasons)
    if "model_index.json" in names:
        checked.append("model_index.json")
        reasons.extend(_components(names, kinds))
    indexes = sorted(name for name in names if name.endswith(WEIGHT_INDEXES))
    checked.extend(_check_index(content, name, reasons) for name in indexes)
    reasons.extend(_incomplete_series(names))
    reasons.extend(f"{shown(name)}: is empty" for name in sorted(names) if name.endswith(WEIGHTS) and not names[name])
    headers = sorted(name for name in names if name.endswith(".safetensors") and names[name])
    reasons.extend(f"{shown(name)}: {trouble}" for name in headers if (trouble := _header(content, name)) is not None)
    if headers:
        checked.append(f"headers of {len(headers)} safetensors files")
    single = _has_model(names)
    if single and not indexes:
        checked.append("a configuration with weights")
    has_list = "model_index.json" in names or bool(indexes) or single
    return Judgement(tuple(reasons), tuple(checked), has_list and not reasons, frozenset(kinds))


def _has_model(names: Mapping[str, int]) -> bool:
    configured = any(name in names for name in _CONFIGURATIONS)
    return configured and any("/" not in name and name.endswith(WEIGHTS) for name in names)


def _json(content: Content, name: str) -> dict[str, object] | str:
    """A JSON object of the repository, or why there is none."""
    size = content.sizes_bytes[name]
    if size > _MAX_INDEX_BYTES:
        return f"{size} bytes are too many for an index"
    try:
        descriptor = content.open(name)
        try:
            document = json.loads(os.pread(descriptor, size, 0))
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return "is not JSON"
    return document if isinstance(document, dict) else "is not a JSON object"


def _pipeline(content: Content, reasons: list[str]) -> dict[str, str]:
    """Classes by component, as `model_index.json` gives them; those that are null are not there."""
    if "model_index.json" not in content.sizes_bytes:
        return {}
    index = _json(content, "model_index.json")
    if isinstance(index, str):
        reasons.append(f"model_index.json: {index}")
        return {}
    kinds = {}
    for component, value in index.items():
        if isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
            kinds[component] = str(value[1])
    return kinds


def _components(names: Mapping[str, int], kinds: Mapping[str, str]) -> Iterator[str]:
    inside: dict[str, set[str]] = defaultdict(set)
    for name in names:
        directory, _, rest = name.partition("/")
        if directory in kinds:
            inside[directory].add(rest)
    for component in sorted(kinds):
        yield from component_reasons(component, kinds[component], inside[component] - {""})


def _check_index(content: Content, name: str, reasons: list[str]) -> str:
    """Looks for the shards of one weight index; returns what was compared."""
    index = _json(content, name)
    if isinstance(index, str):
        reasons.append(f"{shown(name)}: {index}")
        return name
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        reasons.append(f"{shown(name)}: is not a weight index")
        return name
    directory, slash, own = name.rpartition("/")
    wanted = {f"{directory}{slash}{shard}" for shard in shards.values()}
    missing = sorted(wanted.difference(content.sizes_bytes))
    if own.endswith(".bin.index.json") and len(missing) == len(wanted) and _has_safetensors(content, directory):
        return f"{name} (its shards were not asked for: there are safetensors)"
    reasons.extend(f"{shown(shard)}: is missing; {own} names it" for shard in missing)
    return name


def _has_safetensors(content: Content, directory: str) -> bool:
    return any(name.endswith(".safetensors") and name.rpartition("/")[0] == directory for name in content.sizes_bytes)


def _incomplete_series(names: Mapping[str, int]) -> Iterator[str]:
    """Weights whose own name says that there are others, and there are not."""
    series: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for name in names:
        match = _SHARD.fullmatch(name) if "-of-" in name else None
        if match is not None:
            series[match["head"], match["count"], match["tail"]].add(int(match["number"]))
    for (head, count, tail), numbers in sorted(series.items()):
        first = 0 if 0 in numbers else 1
        missing = (number for number in range(first, first + int(count)) if number not in numbers)
        for number in itertools.islice(missing, _MAX_MISSING):
            yield f"{shown(f'{head}-{number:05}-of-{count}{tail}')}: is missing; the names of the others count it"


def _header(content: Content, name: str) -> str | None:
    try:
        descriptor = content.open(name)
        try:
            return check_safetensors(descriptor, content.sizes_bytes[name])
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"its header cannot be read: {error.strerror}"

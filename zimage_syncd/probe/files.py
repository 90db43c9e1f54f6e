"""The level `files`: headers, indexes, configurations and links of a snapshot, read without torch. Changes nothing."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from zimage_syncd.layouts.safetensors_header import Tensor, read_safetensors
from zimage_syncd.probe.need import Need, need_of
from zimage_syncd.probe.shards import WeightIndex, damage_of, remarks_on

_NO_FILE = "no regular file"

MAX_JSON_BYTES = 2**26
"""The largest usual one, Qwen's tokenizer.json, has 11 MB."""

_CONFIGURATIONS = ("config.json", "index.json", "tokenizer.json", "vocab.json", "map.json")
"""Ends of the names that libraries read; a publisher's other JSON is nobody's business here."""

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".msgpack", ".h5")
"""Weights in forms that the probe never loads; most of them can run code."""


@dataclass(frozen=True, slots=True)
class Component:
    """One entry of `model_index.json`."""

    name: str
    """Its directory."""
    library: str
    """Where its class is from: diffusers, transformers, or one of diffusers' pipeline modules."""
    class_name: str
    """The class, in that library."""
    weights_bytes: int
    """Of its safetensors files."""
    only_pickles: bool
    """Whether its weights are there only in a form that is never loaded."""


@dataclass(frozen=True, slots=True)
class PipelineIndex:
    """What `model_index.json` says, as far as it was understood."""

    class_name: str
    """The pipeline's class; empty where it names code of the repository's own."""
    components: tuple[Component, ...]
    """Those that are not null."""


@dataclass(slots=True)
class Examination:
    """What was looked at, and what is wrong with it."""

    checked_files: int = 0
    """Files that were opened."""
    damage: list[str] = field(default_factory=list)
    """File and reason, each."""
    index: PipelineIndex | None = None
    """None where the repository is no pipeline of diffusers."""
    remarks: list[str] = field(default_factory=list)
    """What is odd and no damage."""
    tensors: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    """Of each safetensors file whose header is good, by its name from the directory."""
    weight_indexes: dict[str, WeightIndex] = field(default_factory=dict)
    """By their names from the directory."""

    def need(self) -> Need:
        """The memory that the pipeline's weights need; nothing where it is none."""
        names = tuple(part.name for part in self.index.components) if self.index is not None else ()
        return need_of(names, self.tensors, {name: index.shards for name, index in self.weight_indexes.items()})


def examine(directory: str, cache: str = "") -> Examination:
    """Looks at every file of a snapshot that says something about itself or about others.

    Args:
        directory: absolute path.
        cache: absolute path of what its links may lead to without a remark; empty: anything.
    """
    found = Examination()
    names = list(_files(directory, found))
    if not names and not found.damage:
        found.damage.append(f"{directory}: no files there")
    for name in names:
        reason = _objection(directory, name, found)
        if reason is not None:
            found.damage.append(f"{name}: {reason}")
    for name, index in found.weight_indexes.items():
        found.damage.extend(f"{name}: {reason}" for reason in damage_of(index, found.tensors))
        found.remarks.extend(f"{name} {remark}" for remark in remarks_on(index, found.tensors))
    found.remarks.extend(_links_elsewhere(directory, names, cache))
    return found


def _links_elsewhere(directory: str, names: list[str], cache: str) -> Iterator[str]:
    """Says how many files lie outside of the cache, as links into a shared mount do."""
    if not cache:
        return
    own = os.path.join(os.path.realpath(cache), "")
    paths = [os.path.join(directory, name) for name in names]
    outside = [real for path in paths if not (real := os.path.realpath(path)).startswith(own) and os.path.exists(real)]
    if outside:
        yield f"{len(outside)} files are links out of the cache, such as to {outside[0]}"


def _files(directory: str, found: Examination) -> Iterator[str]:
    """Names from the directory, sorted; hidden ones are the libraries' own books."""

    def note(error: OSError) -> None:
        found.damage.append(f"{error.filename}: {error.strerror}")

    for parent, directories, files in os.walk(directory, onerror=note):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(parent, name), directory)


def _objection(directory: str, name: str, found: Examination) -> str | None:
    """What is wrong with one file, or None."""
    path = os.path.join(directory, name)
    try:
        if name.endswith(".safetensors"):
            found.checked_files += 1
            return _check_weights(path, name, found)
        if name.endswith(_CONFIGURATIONS):
            found.checked_files += 1
            return _check_json(directory, name, found)
        if not stat.S_ISREG(os.stat(path).st_mode):
            return _NO_FILE
    except OSError as error:
        return error.strerror or str(error)
    return None


def _opened(path: str) -> IO[bytes]:
    """A regular file. Whoever opened a FIFO or a device could wait for ever.

    Raises:
        OSError: it is none, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, _NO_FILE, path)
    return stream


def _check_weights(path: str, name: str, found: Examination) -> str | None:
    with _opened(path) as stream:
        tensors = read_safetensors(stream.fileno(), os.fstat(stream.fileno()).st_size)
    if isinstance(tensors, str):
        return tensors
    found.tensors[name] = tensors
    return None


def _check_json(directory: str, name: str, found: Examination) -> str | None:
    with _opened(os.path.join(directory, name)) as stream:
        content = stream.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        return f"larger than {MAX_JSON_BYTES} bytes"
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {str(error)[:200]}"
    if name.endswith(".safetensors.index.json"):
        return _read_weight_index(directory, name, values, found)
    if name == "model_index.json":
        return _read_index(directory, values, found)
    return None


def _read_weight_index(directory: str, name: str, values: object, found: Examination) -> str | None:
    listed = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(listed, dict) or not all(isinstance(shard, str) for shard in listed.values()):
        return "its weight_map does not map tensors to files"
    parent = os.path.dirname(name)
    index = WeightIndex({tensor: os.path.join(parent, shard) for tensor, shard in listed.items()}, _total_of(values))
    found.weight_indexes[name] = index
    missing = [shard for shard in sorted(index.shards) if not os.path.lexists(os.path.join(directory, shard))]
    shown = ", ".join(os.path.relpath(shard, parent or ".") for shard in missing[:5])
    return f"names {len(missing)} shards that are not there: {shown}" if missing else None


def _total_of(values: object) -> int | None:
    """`metadata.total_size`; some tools write it as a float."""
    metadata = values.get("metadata") if isinstance(values, dict) else None
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return int(total) if isinstance(total, int | float) and 0 <= total < 2**63 else None


def _read_index(directory: str, values: object, found: Examination) -> str | None:
    if not isinstance(values, dict):
        return "not a JSON object"
    class_name = values.get("_class_name")
    components, missing = [], []
    for name, entry in sorted(values.items()):
        if name.startswith("_") or not _names_a_class(entry):
            continue
        if os.path.isdir(os.path.join(directory, name)):
            components.append(_component(directory, name, entry[0], entry[1]))
        else:
            missing.append(name)
    found.index = PipelineIndex(class_name if isinstance(class_name, str) else "", tuple(components))
    return f"names components that are not there: {', '.join(missing)}" if missing else None


def _names_a_class(entry: object) -> bool:
    """Whether it is `[library, class]`; `[null, null]` is a component that was left out, other values are settings."""
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def _component(directory: str, name: str, library: str, class_name: str) -> Component:
    weights_bytes, safe, pickled = 0, False, False
    with os.scandir(os.path.join(directory, name)) as entries:
        for entry in entries:
            if entry.name.endswith(".safetensors"):
                safe = True
                weights_bytes += entry.stat().st_size if entry.is_file() else 0
            pickled = pickled or entry.name.endswith(_PICKLES)
    return Component(name, library, class_name, weights_bytes, pickled and not safe)

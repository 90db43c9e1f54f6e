"""Loads the pipeline that this project is for without its libraries' loaders: `ZImagePipeline` and its five components.

The weights come from `reading.py`; here are the modules that they belong to. What is not exactly as known raises
`NotDirect`, and the libraries' own way is taken: it is slower and knows everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from zimage_syncd.probe.files import PipelineIndex
from zimage_syncd.probe.weights import Weights, WeightsUnclear, find_weights

PIPELINE = "ZImagePipeline"

_CLASSES = {
    "scheduler": ("diffusers", frozenset({"FlowMatchEulerDiscreteScheduler"})),
    "text_encoder": ("transformers", frozenset({"Qwen3Model"})),
    "tokenizer": ("transformers", frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"})),
    "transformer": ("diffusers", frozenset({"ZImageTransformer2DModel"})),
    "vae": ("diffusers", frozenset({"AutoencoderKL"})),
}


class NotDirect(Exception):
    """Something is not as this module knows it; the message says what."""


def plan_directly(directory: str, index: PipelineIndex) -> tuple[Weights, ...]:
    """Which bytes to read for a pipeline that is known here. Needs no torch.

    Args:
        directory: absolute path of the snapshot.
        index: what its `model_index.json` says.

    Returns:
        One item for each component that has weights.

    Raises:
        NotDirect: the pipeline, a component's class or the arrangement of files is another one.
    """
    if index.class_name != PIPELINE:
        raise NotDirect(f"{index.class_name} is loaded by its own library")
    if {part.name for part in index.components} != set(_CLASSES):
        raise NotDirect(f"its components are {', '.join(part.name for part in index.components)}")
    for part in index.components:
        library, names = _CLASSES[part.name]
        if part.library != library or part.class_name not in names:
            raise NotDirect(f"{part.name} is a {part.library}.{part.class_name}")
    try:
        found = [find_weights(directory, part.name, part.library) for part in index.components]
    except (WeightsUnclear, OSError, ValueError, LookupError, TypeError) as error:
        raise NotDirect(str(error)) from error
    for part in index.components:
        _refuse_converted(os.path.join(directory, part.name))
    return tuple(weights for weights in found if weights.tensors)


def _refuse_converted(place: str) -> None:
    """A model that its library changes while it loads it.

    Raises:
        NotDirect: its configuration quantizes it, or there is an adapter, which transformers and peft put into it.
    """
    if os.path.exists(os.path.join(place, "adapter_config.json")):
        raise NotDirect(f"{place}: there is an adapter")
    try:
        with open(os.path.join(place, "config.json"), "rb") as stream:
            settings = json.load(stream)
    except (OSError, ValueError):
        return  # a component without one, such as a tokenizer; of any other its class will say so
    if isinstance(settings, dict) and settings.get("quantization_config") is not None:
        raise NotDirect(f"{place}: its configuration quantizes it")


def import_known() -> None:
    """Imports the classes of every snapshot that this module knows, before there is one."""
    import diffusers  # noqa: PLC0415 (the caller decides how it is imported)
    import transformers  # noqa: PLC0415

    getattr(diffusers, PIPELINE)
    for library, names in _CLASSES.values():
        for name in names:
            getattr(diffusers if library == "diffusers" else transformers, name, None)


def import_classes(index: PipelineIndex) -> dict[str, Any]:
    """The classes of the components, by their directories' names."""
    import diffusers  # noqa: PLC0415 (the caller decides how it is imported)
    import transformers  # noqa: PLC0415

    libraries = {"diffusers": diffusers, "transformers": transformers}
    return {part.name: getattr(libraries[part.library], part.class_name) for part in index.components}


def assemble(
    directory: str, classes: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]], device_name: str
) -> Any:
    """Makes the pipeline from tensors that are where they belong.

    Args:
        directory: absolute path of the snapshot.
        classes: from `import_classes`, and that of the pipeline at `""`.
        tensors: of `Reading.finish`; every one is used or accounted for.
        device_name: where they are.

    Returns:
        A `DiffusionPipeline` in evaluation mode.

    Raises:
        NotDirect: tensors and modules do not belong together one to one.
    """
    components: dict[str, Any] = {}
    for name, kind in classes.items():
        if not name:
            continue
        place = f"{directory}/{name}"
        if name in tensors:
            module = _empty_module(place, kind)
            _fill(name, module, dict(tensors[name]), device_name)
            components[name] = module.eval()
        else:
            components[name] = kind.from_pretrained(place, local_files_only=True)
    pipeline = classes[""](**components)
    pipeline.register_to_config(_name_or_path=directory)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _empty_module(place: str, kind: Any) -> Any:
    """The module with its parameters on no device, and with the buffers that it computes."""
    import torch  # noqa: PLC0415
    from torch.overrides import TorchFunctionMode  # noqa: PLC0415

    class Unfilled(TorchFunctionMode):  # type: ignore[misc]  # torch may not be installed where this is checked
        """Reserves no memory for what files fill, and fills nothing with numbers before.

        The `meta` device as a whole would also take what is computed, such as the frequencies of rotary embeddings.
        """

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            named = kwargs or {}
            target = args[0] if args else named.get("tensor")
            changes_numbers = func.__name__.endswith("_") and not func.__name__.endswith("__")
            if changes_numbers and getattr(target, "is_meta", False):
                return target
            return func(*args, **(named | {"device": "meta"} if func is torch.empty else named))

    by_diffusers = hasattr(kind, "load_config")
    settings = (kind.load_config if by_diffusers else kind.config_class.from_pretrained)(place, local_files_only=True)
    with Unfilled():
        return kind.from_config(settings) if by_diffusers else kind(settings)


def _fill(component: str, module: Any, tensors: dict[str, Any], device_name: str) -> None:
    """Puts the tensors into the module, and checks that nothing is missing or left over."""
    expected = set(module.state_dict())
    given = _rename(component, module, tensors, expected)
    given_device = next(iter(given.values())).device
    tied = set(getattr(module, "_tied_weights_keys", None) or ())
    missing = expected - set(given) - tied
    if missing:
        raise NotDirect(f"{component}: no file has {min(missing)} (and {len(missing) - 1} more)")
    wrong = [name for name, value in module.state_dict().items() if name in given and given[name].shape != value.shape]
    if wrong:
        raise NotDirect(f"{component}: {wrong[0]} is of another shape in the file")
    module.load_state_dict(given, strict=False, assign=True)
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    for part in module.modules():
        for name, value in part.named_buffers(recurse=False):
            if name in part._non_persistent_buffers_set:
                part.register_buffer(name, value.to(device_name), persistent=False)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.device != given_device:
            raise NotDirect(f"{component}: {name} is in no file")


def _rename(component: str, module: Any, tensors: dict[str, Any], expected: set[str]) -> dict[str, Any]:
    """Names as the class has them: a model that was saved with a head has its own prefix before all of them."""
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    given = {name if name in expected else name.removeprefix(prefix): value for name, value in tensors.items()}
    left_over = sorted(set(given) - expected - _HEADS)
    if left_over or len(given) != len(tensors):
        raise NotDirect(f"{component}: the class has no {', '.join(left_over[:3]) or 'room for doubled names'}")
    return {name: value for name, value in given.items() if name in expected}


_HEADS = frozenset({"lm_head.weight"})
"""Tensors of a language model that a text encoder has no use for."""

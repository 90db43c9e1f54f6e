"""Loads a snapshot with the classes that its users load it with, and lets it draw. Imports torch and diffusers.

Local files only, safetensors only, classes of the installed libraries only: nothing of a repository is ever executed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import inspect
import os
import platform
import warnings
from collections.abc import Iterator
from typing import Any

import diffusers
import numpy
import torch
import transformers

from zimage_syncd import __version__
from zimage_syncd.model.health import HealthOutcome, HealthRequest
from zimage_syncd.probe.conclusion import MAX_LINE_CHARS, Concluded, Progress
from zimage_syncd.probe.device import Device
from zimage_syncd.probe.files import PipelineIndex


def prepare(request: HealthRequest, index: PipelineIndex, progress: Progress) -> type[diffusers.DiffusionPipeline]:
    """Finds the class that a user of this layout loads the pipeline with, and notes the versions of what takes part.

    Args:
        request: its layout decides: those of ModelScope take modelscope's class of the same name, where it has one.
        index: the snapshot's.
        progress: gets the versions.

    Raises:
        Concluded: not_applicable, where nothing of the installed libraries fits.
    """
    progress.versions = {"python": platform.python_version(), "zimage-syncd": __version__, **_versions()}
    refuse_foreign_parts(index)
    pipeline_class, name = find_class(index, request.layout)
    if name.startswith("modelscope."):
        progress.versions["modelscope"] = importlib.metadata.version("modelscope")
    progress.versions["class"] = name
    return pipeline_class


def find_class(index: PipelineIndex, layout: str) -> tuple[type[diffusers.DiffusionPipeline], str]:
    """The class that a user of this layout loads the pipeline with.

    Args:
        index: the snapshot's.
        layout: a `LayoutName`; those of ModelScope take modelscope's class of the same name, where it has one.

    Returns:
        The class, and its library and name.

    Raises:
        Concluded: not_applicable.
    """
    name = index.class_name
    found = getattr(diffusers, name, None) if name.isidentifier() else None
    if not (isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)):
        reason = f"diffusers {diffusers.__version__} has no pipeline class {name!r}; no other code is ever run"
        raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)
    if layout.startswith("modelscope"):
        with contextlib.suppress(ImportError, AttributeError):
            return getattr(importlib.import_module("modelscope"), name), f"modelscope.{name}"
    return found, f"diffusers.{name}"


def refuse_foreign_parts(index: PipelineIndex) -> None:
    """Checks that the classes of all components are those of the installed libraries.

    Raises:
        Concluded: not_applicable.
    """
    for part in index.components:
        if part.library not in {"diffusers", "transformers"} and not hasattr(diffusers.pipelines, part.library):
            reason = f"{part.name} needs code from {part.library!r}; only diffusers and transformers are loaded"
            raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)


def load(
    pipeline_class: type[diffusers.DiffusionPipeline], directory: str, device: Device
) -> diffusers.DiffusionPipeline:
    """Loads all components and moves them to the device.

    Args:
        pipeline_class: from `find_class`.
        directory: absolute path of the snapshot.
        device: where to, and as which dtype.

    Raises:
        Concluded: load_failed, for a tensor that no file has.
    """
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    # The new name came within 0.x, where the old one still works; 1.0 will know the new one only.
    dtype_name = "torch_dtype" if diffusers.__version__.startswith("0.") else "dtype"
    with warnings.catch_warnings(), _missing_tensors() as missing:
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = pipeline_class.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, **{dtype_name: device.dtype}
        )
    missing.extend(_unfilled(pipeline))
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise Concluded(HealthOutcome.LOAD_FAILED, f"{missing[0][:MAX_LINE_CHARS]}{more}")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device.name)


@contextlib.contextmanager
def _missing_tensors() -> Iterator[list[str]]:
    """Collects what no file has of the models of transformers, which fills it with random numbers and goes on."""
    missing: list[str] = []
    found = transformers.PreTrainedModel.__dict__["from_pretrained"]

    def noting(kind: type[object], /, *arguments: object, **named: object) -> object:
        model, told = found.__func__(kind, *arguments, **(named | {"output_loading_info": True}))
        computed = {name for name, _ in model.named_buffers()}
        component = os.path.basename(str(arguments[0])) if arguments else kind.__name__
        missing.extend(f"{component}: no file has {name}" for name in sorted(set(told["missing_keys"]) - computed))
        return model

    transformers.PreTrainedModel.from_pretrained = classmethod(noting)
    try:
        yield missing
    finally:
        transformers.PreTrainedModel.from_pretrained = found


def _unfilled(pipeline: diffusers.DiffusionPipeline) -> Iterator[str]:
    """The same of the models of diffusers, which leaves it without memory."""
    for component, module in sorted(pipeline.components.items()):
        if isinstance(module, torch.nn.Module):
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                if tensor.is_meta:
                    yield f"{component}: no file has {name}"


def tensors_of(pipeline: diffusers.DiffusionPipeline) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """All weights of all components, as `refuse_bad_tensors` takes them.

    Raises:
        Concluded: load_failed, for a tensor that no file has.
    """
    for component, module in sorted(pipeline.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        weights = {name for name, _ in module.named_parameters()}
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_meta:
                raise Concluded(HealthOutcome.LOAD_FAILED, f"{component}: no file has the tensor {name}")
            yield f"{component}: {name}", tensor, name in weights


def draw(pipeline: diffusers.DiffusionPipeline, request: HealthRequest) -> numpy.ndarray[Any, Any]:
    """Generates one picture.

    The noise is made on the processor, so that a seed means the same on every device.

    Returns:
        Height x width x 3, float32, values from 0 to 1, on the processor.

    Raises:
        Concluded: not_applicable, for a pipeline that does not draw from a prompt.
    """
    accepted = inspect.signature(pipeline.__call__).parameters
    if not {"prompt", "height", "width", "num_inference_steps"} <= set(accepted):
        reason = f"{type(pipeline).__name__} draws no picture of a chosen size from a prompt; loading it was good"
        raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)
    settings: dict[str, Any] = {}
    # modelscope's classes derive from diffusers' and have other names.
    if any(kind.__name__.startswith("ZImage") for kind in type(pipeline).__mro__):
        # What the distilled model is made for; other pipelines know their own best.
        settings["guidance_scale"] = 0.0
    with torch.inference_mode():
        answer = pipeline(
            prompt=request.prompt,
            height=request.size_px,
            width=request.size_px,
            num_inference_steps=request.steps,
            generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type="np",
            **settings,
        )
    if not hasattr(answer, "images"):
        raise Concluded(HealthOutcome.NOT_APPLICABLE, f"{type(pipeline).__name__} answers with no picture")
    image: numpy.ndarray[Any, Any] = numpy.asarray(answer.images[0], dtype=numpy.float32)
    return image


def _versions() -> dict[str, str]:
    """Of the libraries that took part."""
    return {
        "diffusers": diffusers.__version__,
        "numpy": numpy.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }

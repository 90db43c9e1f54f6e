"""The levels `load` and `generate`. Imports torch, so it is imported only when one of them is to be done."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import numpy
from diffusers import DiffusionPipeline

from zimage_syncd import __version__
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest
from zimage_syncd.probe import comparison, device, picture, pipeline
from zimage_syncd.probe.conclusion import Concluded, Progress, first_line
from zimage_syncd.probe.files import PipelineIndex

PipelineClass = type[DiffusionPipeline]


def prepare(request: HealthRequest, index: PipelineIndex, progress: Progress) -> PipelineClass:
    """Imports the pipeline's class and notes the versions of what took part.

    Raises:
        Concluded: not_applicable, where nothing of the installed libraries fits.
    """
    progress.versions = {"python": platform.python_version(), "zimage-syncd": __version__, **pipeline.versions()}
    pipeline.refuse_foreign_parts(index)
    pipeline_class, name = pipeline.find_class(index, request.layout)
    if name.startswith("modelscope."):
        progress.versions["modelscope"] = importlib.metadata.version("modelscope")
    progress.versions["class"] = name
    return pipeline_class


def run(request: HealthRequest, index: PipelineIndex, pipeline_class: PipelineClass, progress: Progress) -> str:
    """Loads, and draws where that was asked for or can be afforded.

    Returns:
        What is to be said besides `ok`.

    Raises:
        Concluded: it is anything else.
    """
    weights_bytes = sum(part.weights_bytes for part in index.components)
    place = device.choose(request.device, weights_bytes)
    progress.device, progress.dtype = place.label, str(place.dtype).removeprefix("torch.")
    level, reason = request.level, ""
    if level is HealthLevel.AUTO:
        level, reason = device.affordable_level(place, weights_bytes)
    if level is HealthLevel.FILES:
        return f"only files were checked: {reason}"
    try:
        loaded = _load(request, pipeline_class, place, progress)
        if level is HealthLevel.LOAD:
            return reason
        return _generate(request, loaded, place, progress)
    finally:
        progress.peak_memory_bytes = device.peak_memory_bytes(place)


def _load(
    request: HealthRequest, pipeline_class: PipelineClass, place: device.Device, progress: Progress
) -> DiffusionPipeline:
    progress.level = HealthLevel.LOAD
    try:
        with progress.stage("load"):
            loaded = pipeline.load(pipeline_class, request.directory, place)
        with progress.stage("check tensors"):
            pipeline.refuse_bad_tensors(loaded)
    except Concluded:
        raise
    except Exception as error:
        raise device.conclude(error, place, HealthOutcome.LOAD_FAILED) from error
    return loaded


def _generate(request: HealthRequest, loaded: DiffusionPipeline, place: device.Device, progress: Progress) -> str:
    try:
        with progress.stage("generate"):
            image = pipeline.draw(loaded, request)
    except Concluded:
        raise
    except Exception as error:
        raise device.conclude(error, place, HealthOutcome.CRASHED) from error
    progress.level = HealthLevel.GENERATE
    picture.judge(image, request.size_px)
    kept = _keep(image, request, progress) if request.picture else ""
    with progress.stage("compare"):
        compared = comparison.compare_with_reference(image, request, progress)
    return "; ".join(part for part in (compared, kept) if part)


def _keep(image: numpy.ndarray[Any, Any], request: HealthRequest, progress: Progress) -> str:
    """Saves the picture. A full or read-only disk says nothing about the model, so the check stays good."""
    made_from = {
        "prompt": request.prompt,
        "seed": str(request.seed),
        "size_px": str(request.size_px),
        "steps": str(request.steps),
        "dtype": progress.dtype,
        "device": progress.device,
        "repo": request.repo,
        "revision": request.revision,
        "layout": request.layout,
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(progress.versions.items())),
        "Software": f"zimage-syncd {__version__}",
    }
    try:
        with progress.stage("save"):
            picture.save(image, request.picture, made_from)
    except OSError as error:
        return f"the picture is good, but could not be kept: {first_line(error)}"
    progress.picture = request.picture
    return ""

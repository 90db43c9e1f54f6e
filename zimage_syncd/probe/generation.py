"""The levels `load` and `generate`. Imports torch, so it is imported only when one of them is to be done.

diffusers and transformers take several times as long to import as torch. Where the pipeline is known here, the weights
are read in the meantime.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy

from zimage_syncd import __version__
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest
from zimage_syncd.probe import comparison, device, direct, offload, picture, tensors, warm_up
from zimage_syncd.probe.conclusion import Again, Concluded, Progress, first_line
from zimage_syncd.probe.files import PipelineIndex
from zimage_syncd.probe.need import Need
from zimage_syncd.probe.reading import Reading
from zimage_syncd.probe.weights import Weights
from zimage_syncd.probe.yielding import Senses, settle

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def run(
    request: HealthRequest, index: PipelineIndex, need: Need, weights: tuple[Weights, ...] | None, progress: Progress
) -> str:
    """Loads, and draws where that was asked for or can be afforded.

    Args:
        request: what to do.
        index: what the snapshot's `model_index.json` says.
        need: memory of the weights.
        weights: what to read past the libraries' loaders; None: they do it all.
        progress: is added to.

    Returns:
        What is to be said besides `ok`.

    Raises:
        Concluded: it is anything else.
        Again: the quick way did not get to its end.
        Exception: the libraries cannot be imported.
    """
    with progress.stage("device"):
        request = settle(request, need, progress, Senses(look=device.look))
        place, level, reason = _where(request, need, sum(part.weights_bytes for part in index.components), progress)
    progress.device, progress.dtype = place.label, str(place.dtype).removeprefix("torch.")
    if level is HealthLevel.FILES:
        return f"only files were checked: {reason}"
    if weights is not None and progress.placement in offload.OFFLOADED:
        raise Again("only the libraries spread a model over GPU and memory")
    try:
        loaded = (
            _load_by_library(request, index, place, progress)
            if weights is None
            else _load_directly(request, index, Reading(weights, place), place, progress)
        )
        if level is HealthLevel.GENERATE:
            reason = _generate(request, loaded, place, progress)
    finally:
        progress.peak_memory_bytes = device.peak_memory_bytes(place)
    return reason


def _where(
    request: HealthRequest, need: Need, weights_bytes: int, progress: Progress
) -> tuple[device.Device, HealthLevel, str]:
    """Device and level, and why it is no more; notes in `progress` how the model fits.

    Raises:
        Concluded: no_gpu, gpu_busy or out_of_memory; with device and level both `auto` a GPU that is too small leaves
            the processor.
    """
    place = device.choose(request.device, weights_bytes)
    level, reason = request.level, ""
    if level is HealthLevel.AUTO:
        level, reason = device.affordable_level(place, weights_bytes)
    if level is HealthLevel.FILES:
        return place, level, reason
    size_px = request.size_px if level is HealthLevel.GENERATE else 0
    try:
        device.fit(place, need, size_px, progress)
    except Concluded as end:
        small = end.outcome is HealthOutcome.OUT_OF_MEMORY and place.name != "cpu"
        if not (small and request.level is HealthLevel.AUTO and request.device == "auto"):
            raise
        progress.remarks.append(f"{place.label} is too small: {end.detail}")
        return _where(replace(request, device="cpu"), need, weights_bytes, progress)
    return place, level, reason


def _load_by_library(
    request: HealthRequest, index: PipelineIndex, place: device.Device, progress: Progress
) -> DiffusionPipeline:
    with progress.stage("import"):
        from zimage_syncd.probe import pipeline  # noqa: PLC0415 (diffusers and transformers)

        pipeline_class = pipeline.prepare(request, index, progress)
    progress.level = HealthLevel.LOAD
    try:
        with progress.stage("load"):
            first = replace(place, name="cpu") if progress.placement in offload.OFFLOADED else place
            loaded = pipeline.load(pipeline_class, request.directory, first)
        with progress.stage("check tensors"):
            progress.checked_tensors = tensors.refuse_bad_tensors(pipeline.tensors_of(loaded))
        if progress.placement in offload.OFFLOADED:
            offload.spread(loaded, progress.placement, place.name)
    except Concluded:
        raise
    except Exception as error:
        raise device.conclude(error, place, HealthOutcome.LOAD_FAILED) from error
    return loaded


def _load_directly(
    request: HealthRequest, index: PipelineIndex, reading: Reading, place: device.Device, progress: Progress
) -> DiffusionPipeline:
    """Imports while the weights are being read.

    Raises:
        Concluded: load_failed or for want of memory, neither of which can come from this way of loading.
        Again: for everything else.
    """
    progress.level, progress.direct = HealthLevel.LOAD, True
    warming = warm_up.begin(place)
    try:
        with progress.stage("import"):
            classes = _import_classes(request, index, progress)
        with progress.stage("transfer"):
            read = _finish(reading, place)
        progress.timings_s.insert(-1, ("read", round(reading.read_s, 3)))
        with progress.stage("check tensors"):
            progress.checked_tensors = tensors.refuse_bad_tensors(
                (f"{component}: {name}", tensor, True) for component, found in read.items()
                for name, tensor in found.items()
            )  # fmt: skip
        with progress.stage("assemble"):
            return direct.assemble(request.directory, classes, read, place.name)
    except Concluded:
        raise
    except Exception as error:
        raise Again(first_line(error)) from error
    finally:
        reading.stop()
        warming.join()


def _finish(reading: Reading, place: device.Device) -> dict[str, dict[str, Any]]:
    try:
        return reading.finish()
    except Concluded:
        raise
    except Exception as error:
        raise device.conclude(error, place, HealthOutcome.LOAD_FAILED) from error


def _import_classes(request: HealthRequest, index: PipelineIndex, progress: Progress) -> dict[str, Any]:
    from zimage_syncd.probe import pipeline  # noqa: PLC0415 (diffusers and transformers)

    return {**direct.import_classes(index), "": pipeline.prepare(request, index, progress)}


def _generate(request: HealthRequest, loaded: DiffusionPipeline, place: device.Device, progress: Progress) -> str:
    from zimage_syncd.probe import pipeline, stages  # noqa: PLC0415 (diffusers and transformers)

    try:
        with stages.timed(loaded, progress):
            image = pipeline.draw(loaded, request)
    except Concluded:
        raise
    except Exception as error:
        raise device.conclude(error, place, HealthOutcome.CRASHED) from error
    progress.level, progress.drawn_px, progress.drawn_steps = HealthLevel.GENERATE, request.size_px, request.steps
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

"""What a health check asks for and answers: the document that crosses the probe's process border."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from zimage_syncd.model.picture import Comparison, Conditions, PictureFacts, Reference, deciding, device_model

AHEAD_VARIABLE = "ZIMAGE_SYNCD_PROBE_AHEAD"
"""Tells a probe to import, before it has its request, what one for this layout (a `LayoutName`) needs."""


class HealthLevel(enum.StrEnum):
    """How much a health check does; each level tells more and costs more."""

    AUTO = "auto"
    FILES = "files"
    """Headers, indexes, configurations: without torch."""
    LOAD = "load"
    """Every tensor is read into the real classes."""
    GENERATE = "generate"
    """A short generation."""


class HealthOutcome(enum.StrEnum):
    """The result of a health check."""

    OK = "ok"
    WRONG_PICTURE = "wrong_picture"
    DIFFERENT_PICTURE = "different_picture"
    """A picture, but not the one that the same weights drew before."""
    NO_GPU = "no_gpu"
    GPU_BUSY = "gpu_busy"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    LOAD_FAILED = "load_failed"
    FILES_DAMAGED = "files_damaged"
    MISSING_EXTRA = "missing_extra"
    NOT_APPLICABLE = "not_applicable"


class WhenBusy(enum.StrEnum):
    """What a health check does while somebody else's work needs the GPU."""

    WAIT = "wait"
    """Looks again every few seconds, for a limited time."""
    SKIP = "skip"
    """Ends at once."""
    CPU = "cpu"
    """Does on the processor what can be afforded there."""
    SMALLER = "smaller"
    """Draws a smaller picture in what memory is free beside the others."""


class Placement(enum.StrEnum):
    """How a model is put into memory."""

    NOWHERE = ""
    """It was not loaded."""
    WHOLE = "whole"
    """All of it on the GPU."""
    COMPONENTS = "components"
    """One component after the other on the GPU, the others in the machine's memory."""
    LAYERS = "layers"
    """One layer after the other on the GPU."""
    CPU = "cpu"
    """All of it in the machine's memory."""
    IMPOSSIBLE = "impossible"
    """No way fits."""


@dataclass(frozen=True, slots=True)
class HealthRequest:
    """What the probe is asked to do; passed to it as JSON on standard input."""

    directory: str
    """Absolute path of the snapshot's directory."""
    layout: str
    """`LayoutName` of the snapshot: ModelScope snapshots load through modelscope's class."""
    repo: str
    """`ORG/NAME`, for the record."""
    revision: str
    """Commit or revision, for the record."""
    level: HealthLevel = HealthLevel.AUTO
    """How much to do; auto: generate with a GPU (or on the CPU where the model is small), else load, else files."""
    device: str = "auto"
    """auto, cuda or cpu."""
    size_px: int = 512
    """Width and height of the picture in pixels, a multiple of 16."""
    steps: int = 4
    """Denoising steps."""
    seed: int = 42
    """Of the noise."""
    prompt: str = "a lighthouse on a cliff at dawn, oil painting"
    """What to draw."""
    picture: str = ""
    """Absolute path of the PNG to write; empty: none is written."""
    when_busy: WhenBusy = WhenBusy.WAIT
    """What to do while somebody else's work needs the GPU."""
    wait_s: float = 0.0
    """How long to wait for the GPU at most, in seconds, before the check itself begins."""
    references: tuple[Reference, ...] = ()
    """Candidates to compare the picture with, at most 16: the probe takes the one that was drawn alike."""
    side_by_side: str = ""
    """Absolute path of the PNG to write where the picture is different from its reference; empty: none is written."""


@dataclass(frozen=True, slots=True)
class HealthResult:
    """What the probe answers; one JSON document on standard output."""

    outcome: HealthOutcome
    """What came out."""
    level: HealthLevel
    """What was really done; never auto."""
    detail: str = ""
    """Why, for people."""
    device: str = ""
    """cuda:0 and the card's name, or cpu."""
    dtype: str = ""
    """Of the weights in memory, such as bfloat16."""
    timings_s: tuple[tuple[str, float], ...] = ()
    """Named stages in order, each in seconds, such as files, import torch, import, read, transfer, text encoding,
    denoising, decoding, save, and at last total: since the process was started, or since the request came where the
    process was started before it, and then `ahead` says what the imports had taken by then. Weights are read while
    libraries are imported, so the stages together may take longer than the total."""
    peak_memory_bytes: int = 0
    """Of the device (CUDA: max_memory_allocated; CPU: peak RSS)."""
    checked_files: int = 0
    """Files whose headers or content were looked at."""
    checked_tensors: int = 0
    """Tensors that were loaded and looked at: finite, and no weight matrix all zero."""
    picture: str = ""
    """Absolute path of the PNG; empty where there is none."""
    versions: tuple[tuple[str, str], ...] = ()
    """Libraries and their versions."""
    placement: Placement = Placement.NOWHERE
    """How it was loaded."""
    needed_memory_bytes: int = 0
    """Of the device, estimated before anything was loaded; 0 where nothing was to be."""
    drawn_px: int = 0
    """Width and height of the picture that was drawn, which `when_busy = "smaller"` may have reduced; 0 without one."""
    drawn_steps: int = 0
    """Its denoising steps, likewise."""
    picture_facts: PictureFacts | None = None
    """What was measured of the picture; None where there is none that passed for one."""
    comparison: Comparison | None = None
    """With the reference; None where none was drawn alike."""


def lacks_libraries(request: HealthRequest, result: HealthResult) -> bool:
    """Whether a check did no more than the files for want of libraries: with them, it gets as far as a device."""
    if result.device:
        return False
    fell_back = request.level is HealthLevel.AUTO and result.level is HealthLevel.FILES
    return result.outcome is HealthOutcome.MISSING_EXTRA or (fell_back and result.outcome is HealthOutcome.OK)


def conditions_of(request: HealthRequest, device: str, dtype: str, versions: tuple[tuple[str, str], ...]) -> Conditions:
    """Under which conditions a picture is drawn.

    Args:
        request: what was asked for.
        device: as in `HealthResult`.
        dtype: as in `HealthResult`.
        versions: as in `HealthResult`.
    """
    return Conditions(
        prompt=request.prompt,
        seed=request.seed,
        size_px=request.size_px,
        steps=request.steps,
        dtype=dtype,
        device=device_model(device),
        versions=deciding(versions),
    )

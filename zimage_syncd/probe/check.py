"""The health check: files first, without torch; then whatever more was asked for and makes sense here."""

from __future__ import annotations

import importlib.util
import sys

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.probe.conclusion import Concluded, Progress, first_line
from zimage_syncd.probe.files import Examination, PipelineIndex, examine

_STACK = ("torch", "diffusers", "transformers")

MAX_NAMED = 8
"""Damaged files that the detail names; the others are counted."""


def check(request: HealthRequest) -> HealthResult:
    """Does one health check, and never raises for what it finds."""
    progress = Progress()
    try:
        detail = _check(request, progress)
    except Concluded as end:
        return progress.result(end.outcome, end.detail)
    return progress.result(HealthOutcome.OK, detail)


def _check(request: HealthRequest, progress: Progress) -> str:
    """Returns what is to be said besides `ok`.

    Raises:
        Concluded: it is anything else.
    """
    found = _check_files(request.directory, progress)
    if request.level is HealthLevel.FILES:
        return f"headers, indexes and configurations of {found.checked_files} files are good"
    if found.index is None:
        reason = f"no model_index.json, so nothing to load; {found.checked_files} files were looked at and are good"
        raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)
    pickled = [part.name for part in found.index.components if part.only_pickles]
    if pickled:
        reason = f"{', '.join(pickled)}: weights that are no safetensors can run code, and are never loaded"
        raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)
    return _load_and_draw(request, found.index, progress)


def _check_files(directory: str, progress: Progress) -> Examination:
    with progress.stage("files"):
        found = examine(directory)
    progress.checked_files = found.checked_files
    if found.damage:
        more = f"; and {len(found.damage) - MAX_NAMED} more" if len(found.damage) > MAX_NAMED else ""
        raise Concluded(HealthOutcome.FILES_DAMAGED, "; ".join(found.damage[:MAX_NAMED]) + more)
    return found


def _load_and_draw(request: HealthRequest, index: PipelineIndex, progress: Progress) -> str:
    try:
        with progress.stage("import"):
            # Imports torch, diffusers and transformers: seconds, and hundreds of megabytes.
            from zimage_syncd.probe import generation  # noqa: PLC0415

            pipeline_class = generation.prepare(request, index, progress)
    except Concluded:
        raise
    except Exception as error:
        # A broken installation raises far more than ImportError: OSError for a library, RuntimeError for a version.
        reason = _why_not(error)
        if request.level is HealthLevel.AUTO:
            return f"only files were checked: {reason}"
        raise Concluded(HealthOutcome.MISSING_EXTRA, reason) from error
    return generation.run(request, index, pipeline_class, progress)


def _why_not(error: Exception) -> str:
    """What is missing, by name: without torch, the first import to fail is one that nobody asked for."""
    missing = [name for name in _STACK if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed in {sys.prefix}: {', '.join(missing)}"
    return f"{', '.join(_STACK)} are installed and cannot be imported: {first_line(error)}"

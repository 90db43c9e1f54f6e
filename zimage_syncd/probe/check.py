"""The health check: files first, without torch; then whatever more was asked for and makes sense here."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import sys

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.probe.ahead import Begun, is_of_modelscope
from zimage_syncd.probe.conclusion import Again, Concluded, Progress, first_line
from zimage_syncd.probe.direct import NotDirect, plan_directly
from zimage_syncd.probe.files import Examination, PipelineIndex, examine
from zimage_syncd.probe.lean import lean_imports
from zimage_syncd.probe.weights import Weights
from zimage_syncd.probe.yielding import Senses, settle

_STACK = ("torch", "diffusers", "transformers")

MISSING = "probe extra is not installed: pip install 'zimage-syncd[probe]'"
"""Begins the sentence on libraries that are not there."""

_NO_MEMORY = (os.strerror(errno.ENOMEM), "failed to map segment from shared object")
"""What the loader of shared libraries says of too little memory; for a `noexec` mount it adds `EPERM`'s words."""

MAX_NAMED = 8
"""Damaged files that the detail names; the others are counted."""


def check(request: HealthRequest, *, plainly: str = "", begun: Begun | None = None) -> HealthResult:
    """Does one health check, and never raises for what it finds.

    Args:
        request: what to do.
        plainly: why the libraries' own loaders are to be used; empty: they are only where nothing quicker is known.
        begun: what this process did before; None: nothing.

    Raises:
        Again: the quick way came to a result that is only believed when the libraries' own way has come to it, too.
    """
    begun = begun or Begun()
    progress = Progress(asked_s=begun.asked_s)
    if begun.ahead_s is not None:
        progress.timings_s.append(("ahead", begun.ahead_s))
    try:
        detail = _check(request, progress, plainly, begun)
    except Concluded as end:
        if progress.direct and end.outcome in _DOUBTED:
            raise Again(f"{end.outcome}: {end.detail}") from end
        return progress.result(end.outcome, end.detail)
    except MemoryError as error:
        return progress.result(HealthOutcome.OUT_OF_MEMORY, first_line(error))
    return progress.result(HealthOutcome.OK, detail)


_DOUBTED = frozenset({HealthOutcome.WRONG_PICTURE, HealthOutcome.DIFFERENT_PICTURE, HealthOutcome.CRASHED})
"""What a mistake in this project's own loader could look like."""


def _check(request: HealthRequest, progress: Progress, plainly: str, begun: Begun) -> str:
    """Returns what is to be said besides `ok`.

    Raises:
        Concluded: it is anything else.
        Again: see `check`.
    """
    found = _check_files(request, progress)
    if request.level is HealthLevel.FILES:
        return f"headers, indexes and configurations of {found.checked_files} files are good"
    if found.index is None:
        reason = f"no model_index.json, so nothing to load; {found.checked_files} files were looked at and are good"
        raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)
    pickled = [part.name for part in found.index.components if part.only_pickles]
    if pickled:
        reason = f"{', '.join(pickled)}: weights that are no safetensors can run code, and are never loaded"
        raise Concluded(HealthOutcome.NOT_APPLICABLE, reason)
    return _load_and_draw(request, found, found.index, progress, plainly, begun)


def _check_files(request: HealthRequest, progress: Progress) -> Examination:
    with progress.stage("files"):
        found = examine(request.directory, _cache_of(request))
    progress.remarks.extend(found.remarks[:MAX_NAMED])
    progress.checked_files = found.checked_files
    if found.damage:
        more = f"; and {len(found.damage) - MAX_NAMED} more" if len(found.damage) > MAX_NAMED else ""
        raise Concluded(HealthOutcome.FILES_DAMAGED, "; ".join(found.damage[:MAX_NAMED]) + more)
    return found


def _cache_of(request: HealthRequest) -> str:
    """Where the library keeps all its repositories: three levels up, with ModelScope's older layouts two."""
    levels = 2 if request.layout.endswith("legacy") else 3
    return os.path.normpath(os.path.join(request.directory, *[".."] * levels))


def _load_and_draw(
    request: HealthRequest,
    found: Examination,
    index: PipelineIndex,
    progress: Progress,
    plainly: str,
    begun: Begun,
) -> str:
    missing = _missing()
    if missing:
        return _only_files(request, missing)
    need = found.need()
    request = settle(request, need, progress, Senses())
    weights = None if plainly else _plan(request, index)
    is_lean = weights is not None and not is_of_modelscope(request.layout)
    if begun.is_lean and not is_lean:
        raise Again("")
    try:
        # Until the end, for some of it is asked for only when modules are made, or called.
        with lean_imports() if is_lean and begun.ahead_s is None else contextlib.nullcontext():
            with progress.stage("import torch"):
                from zimage_syncd.probe import generation  # noqa: PLC0415 (seconds, and hundreds of megabytes)

            said = generation.run(request, index, need, weights, progress)
    except (Again, Concluded, MemoryError):
        raise
    except Exception as error:
        if any(words in str(error) for words in _NO_MEMORY) and os.strerror(errno.EPERM) not in str(error):
            raise Concluded(HealthOutcome.OUT_OF_MEMORY, first_line(error)) from error
        # A broken installation raises far more than ImportError: OSError for a library, RuntimeError for a version.
        broken = f"{', '.join(_STACK)} are installed in {sys.prefix} and cannot be imported: {first_line(error)}"
        return _only_files(request, _missing() or broken)
    return "; ".join(part for part in (said, f"loaded plainly, for {plainly}" if plainly else "") if part)


def _plan(request: HealthRequest, index: PipelineIndex) -> tuple[Weights, ...] | None:
    """What to read past the libraries' loaders; None where that is not to be done."""
    try:
        return plan_directly(request.directory, index)
    except NotDirect:
        return None


def _only_files(request: HealthRequest, reason: str) -> str:
    """What is said where there is nothing to load with.

    Raises:
        Concluded: missing_extra, where more than files was asked for by name.
    """
    if request.level is HealthLevel.AUTO:
        return f"only files were checked: {reason}"
    raise Concluded(HealthOutcome.MISSING_EXTRA, reason)


def _missing() -> str:
    """Which libraries are not there, by name; empty where all are."""
    missing = [name for name in _STACK if importlib.util.find_spec(name) is None]
    return f"{MISSING}; not installed in {sys.prefix}: {', '.join(missing)}" if missing else ""

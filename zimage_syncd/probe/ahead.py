"""Imports what a health check will need while its request is still being waited for.

The imports are most of a check's time, and need nothing of the snapshot. Nothing here touches a GPU: what reserves
memory, or makes a CUDA context, waits for the request.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import threading
import time
from dataclasses import dataclass, field
from typing import IO

from zimage_syncd.probe.lean import lean_imports


@dataclass(frozen=True, slots=True)
class Begun:
    """What this process did before its check begins."""

    asked_s: float | None = None
    """When the request came (CLOCK_BOOTTIME, seconds), where this process was started before; None: it was not."""
    ahead_s: float | None = None
    """What the imports before the request took, in seconds; None: there were none."""
    is_lean: bool = False
    """Whether `lean_imports` is entered, and stays so."""
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What stays entered as long as this object lives; nobody leaves it."""


def import_until_asked(layout: str, stream: IO[bytes], limit_bytes: int) -> tuple[bytes, Begun]:
    """Imports, and waits for a request at the same time.

    An import that fails here fails again where a request needs it, and is told there.

    Args:
        layout: `LayoutName` of the snapshot that a request is expected for.
        stream: gives the request, up to a line's end or its own.
        limit_bytes: the most that is read of it.

    Returns:
        The request, empty where the stream ended without one; and what was done.
    """
    asked = _Asked(stream, limit_bytes)
    is_lean = not is_of_modelscope(layout)
    held, began_s = contextlib.ExitStack(), time.perf_counter()
    if is_lean:
        held.enter_context(lean_imports())
    with contextlib.suppress(Exception):
        _import(of_modelscope=not is_lean)
    ahead_s = round(time.perf_counter() - began_s, 3)
    document, asked_s = asked.wait()
    return document, Begun(asked_s, ahead_s, is_lean, held)


def is_of_modelscope(layout: str) -> bool:
    """Whether a snapshot's user loads it with modelscope's class, whose import needs far more."""
    return layout.startswith("modelscope") and importlib.util.find_spec("modelscope") is not None


def _import(*, of_modelscope: bool) -> None:
    from zimage_syncd.probe import direct, generation, pipeline, stages  # noqa: PLC0415 (seconds)

    del generation, pipeline, stages
    direct.import_known()
    if of_modelscope:
        getattr(importlib.import_module("modelscope"), direct.PIPELINE)


class _Asked:
    """Reads in a thread, so that it is known when the request came, whatever is being imported then."""

    def __init__(self, stream: IO[bytes], limit_bytes: int) -> None:
        self._document, self._at_s = b"", 0.0
        self._thread = threading.Thread(target=self._read, args=(stream, limit_bytes), name="request", daemon=True)
        self._thread.start()

    def wait(self) -> tuple[bytes, float]:
        """The request, and when it came (CLOCK_BOOTTIME)."""
        self._thread.join()
        return self._document, self._at_s

    def _read(self, stream: IO[bytes], limit_bytes: int) -> None:
        self._document = stream.readline(limit_bytes)
        self._at_s = time.clock_gettime(time.CLOCK_BOOTTIME)

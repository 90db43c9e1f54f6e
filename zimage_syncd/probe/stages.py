"""How long the parts of a generation take. Imports torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch

from zimage_syncd.probe.conclusion import Progress

_PARTS = {"encode_prompt": "text encoding", "decode": "decoding"}


@contextlib.contextmanager
def timed(pipeline: Any, progress: Progress) -> Iterator[None]:
    """Times one generation: text encoding, denoising (all the rest) and decoding; or as a whole, as `generate`.

    The GPU is waited for at the ends of each, which costs nothing: they depend on each other.

    Args:
        pipeline: a `DiffusionPipeline`; its `encode_prompt` and its `vae.decode` are timed where it has them.
        progress: gets the stages, also of a generation that fails.
    """
    spent_s: dict[str, float] = {}
    for owner, name in ((pipeline, "encode_prompt"), (getattr(pipeline, "vae", None), "decode")):
        if callable(getattr(owner, name, None)):
            setattr(owner, name, _timed(getattr(owner, name), spent_s, _PARTS[name]))
    began_s = time.perf_counter()
    try:
        yield
    finally:
        _wait()
        total_s = time.perf_counter() - began_s
        if set(spent_s) == set(_PARTS.values()):
            spent_s["denoising"] = total_s - sum(spent_s.values())
        else:
            spent_s = {"generate": total_s}
        order = ("text encoding", "denoising", "decoding", "generate")
        progress.timings_s.extend((name, round(spent_s[name], 3)) for name in order if name in spent_s)


def _timed(function: Any, spent_s: dict[str, float], stage: str) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        _wait()
        began_s = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            _wait()
            spent_s[stage] = spent_s.get(stage, 0.0) + time.perf_counter() - began_s

    return call


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()

"""Large repositories cost a stat for each file, and are opened only where a header or an index has to be read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.snapshot import Complete

COUNT = 2000
DATA = {f"data/{number // 100}/{number}.txt": str(number).encode() for number in range(COUNT)}

_OPENED: list[str] = []
_COUNTING: list[Path] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _COUNTING and event == "open" and str(arguments[0]).startswith(str(_COUNTING[-1])):
        _OPENED.append(str(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def opened_below(directory: Path) -> Iterator[list[str]]:
    """Paths of files that are opened while the block runs."""
    _OPENED.clear()
    _COUNTING.append(directory)
    try:
        yield _OPENED
    finally:
        _COUNTING.pop()


def test_files_of_a_dataset_are_not_opened(cache: Path, look: Looker) -> None:
    base = hf_snapshot(cache, DATA, kind="datasets")
    with opened_below(cache) as opened:
        snapshot = look.one(cache)
    assert isinstance(snapshot.completeness, Complete)
    assert (len(snapshot.files), len(snapshot.links)) == (COUNT, COUNT)
    assert sorted(opened) == [f"{base}/refs", f"{base}/trees"]  # for the pointers in them


def test_files_of_modelscope_are_opened_for_indexes_and_headers_alone(cache: Path, look: Looker) -> None:
    base = modelscope_snapshot(cache, {**pipeline_files(), **DATA})
    with opened_below(cache) as opened:
        snapshot = look.one(cache)
    assert len(snapshot.files) == COUNT + 13
    assert {path.removeprefix(f"{base}/") for path in opened} == {
        "model_index.json",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }


@pytest.mark.long
def test_a_hundred_thousand_files_are_listed_once_each(cache: Path, look: Looker) -> None:
    files = {f"data/{number // 1000}/{number}.txt": str(number).encode() for number in range(100_000)}
    hf_snapshot(cache, files, kind="datasets")
    snapshot = look.one(cache)
    assert isinstance(snapshot.completeness, Complete)
    assert (len(snapshot.files), len(snapshot.links)) == (100_000, 100_000)

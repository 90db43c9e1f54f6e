"""Fixtures of the probe's tests: the tiny pipeline, requests, and a wish to stop that never comes."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tests.support.safetensors_edit import write_safetensors
from tests.support.tiny_pipeline import shared_pipeline
from zimage_syncd.model.health import HealthRequest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    """The tiny pipeline's directory, shared by all test processes of this run. Not to be written to."""
    return shared_pipeline(tmp_path_factory)


@pytest.fixture
def own_tiny(tiny, tmp_path) -> str:
    """A copy of the tiny pipeline that a test may damage."""
    directory = str(tmp_path / "snapshot")
    shutil.copytree(tiny, directory)
    return directory


@pytest.fixture
def paper(tmp_path) -> str:
    """A repository in the form of a pipeline, with weights of a few bytes: enough for all that needs no torch."""
    root = tmp_path / "paper"
    transformer = root / "transformer"
    transformer.mkdir(parents=True)
    for number in (1, 2):
        write_safetensors(
            str(transformer / f"model-{number}.safetensors"), {f"tensor{number}": ("F32", [4], bytes(16))}
        )
    index = '{"weight_map": {"tensor1": "model-1.safetensors", "tensor2": "model-2.safetensors"}}'
    (transformer / "model.safetensors.index.json").write_text(index)
    (transformer / "config.json").write_text("{}")
    (root / "model_index.json").write_text(
        '{"_class_name": "ZImagePipeline", "_diffusers_version": "0.42.1", "safety_checker": [null, null],'
        ' "transformer": ["diffusers", "ZImageTransformer2DModel"]}'
    )
    (root / "README.md").write_text("paper")
    return str(root)


@pytest.fixture
def request_for(tmp_path):
    """Makes requests for a directory, with a small picture below the test's own directory."""

    def make(directory: str, **values: object) -> HealthRequest:
        basis = HealthRequest(
            directory=directory,
            layout="huggingface",
            repo="Tongyi-MAI/Z-Image-Turbo",
            revision="0123456789abcdef",
            device="cpu",
            size_px=64,
            steps=2,
            picture=str(tmp_path / "pictures" / "picture.png"),
        )
        return replace(basis, **values)

    return make


class Never:
    """A wish to stop that nobody has."""

    def check(self) -> None:
        """Goes on."""


@pytest.fixture
def never() -> Never:
    """Never stops."""
    return Never()

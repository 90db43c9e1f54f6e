"""Guests, and what stands around them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.machine.guest import Guest, GuestFailed
from tests.machine.image import Image, directory_of_images, image, lacking
from tests.machine.installation import UNIT, Bucket
from tests.support.hf_hub import LoopbackHfHub
from tests.support.hub_clients import hf_download
from tests.support.s3_server import S3Server
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failed test what the daemon said in the guest, which nobody can ask afterwards."""
    report = yield
    guest = getattr(item, "funcargs", {}).get("guest")
    if call.when == "call" and report.failed and guest is not None and guest.is_on:
        with suppress(GuestFailed):
            report.sections.append((f"journal of {UNIT}", guest.journal(UNIT)))
    return report


@pytest.fixture(scope="session")
def system_image() -> Image:
    """Debian with this working tree's program."""
    return _image(python=True)


@pytest.fixture(scope="session")
def bare_image() -> Image:
    """Debian without Python, and without this program."""
    return _image(python=False)


def _image(*, python: bool) -> Image:
    lacks = lacking()
    if lacks:
        pytest.skip(f"no virtual machine can be made here: {lacks}")
    return image(directory_of_images(), python=python)


@pytest.fixture
def guest(system_image: Image, tmp_path: Path) -> Iterator[Guest]:
    """A machine that is off, without further disks."""
    with Guest(tmp_path / "guest", system_image) as made:
        yield made


@pytest.fixture
def bucket(seaweed: S3Server) -> Bucket:
    """An empty one."""
    return Bucket(seaweed, seaweed.make_bucket())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a cache that huggingface_hub made in `model_cache`, of 8 chunks and some small files."""
    directory = tmp_path_factory.mktemp("model")
    source = random.Random(6)
    big = {
        f"{name}/model.safetensors": safetensors_bytes({"x": source.randbytes(count * CHUNK_BYTES - 4096)})
        for name, count in (("first", 4), ("second", 3), ("third", 1))
    }
    with LoopbackHfHub({"org/name": {**pipeline_files(), **big}}) as hub:
        (place,) = hf_download(directory / "model_cache", hub.endpoint, {"repo_id": "org/name"})
    assert place.startswith(str(directory)), place
    shutil.rmtree(directory / "model_cache/hub/.locks")  # of no snapshot, so no store has them
    (directory / "model_cache/hub/CACHEDIR.TAG").unlink()
    return directory


@pytest.fixture
def full_bucket(bucket: Bucket, model: Path, tmp_path: Path) -> Bucket:
    """One that has a backup of the model."""
    bucket.fill_from(tmp_path / "elsewhere", model / "model_cache")
    return bucket

"""Fixtures that every room of the tests uses."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.clock import HeldClock
from tests.support.content import Content
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.processes import directory_of_run
from tests.support.s3_server import S3Server
from tests.support.seaweedfs import seaweedfs
from tests.support.site import Bench
from zimage_syncd.stores import s3_settings

# A machine that others use, too, may stop a test for a second: how long one example took says nothing.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def bench(tmp_path: Path, clock: HeldClock) -> Bench:
    """A cache directory with everything that jobs need, and an archive in memory."""
    return Bench(tmp_path, clock)


@pytest.fixture
def content() -> random.Random:
    """The same random bytes in every run."""
    return Content(20261)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine in a directory, and the command line as a process."""
    machine = Machine(tmp_path)
    machine.cache.mkdir(parents=True)
    machine.write_config()
    return machine


@pytest.fixture
def data_disk(machine: Machine) -> Iterator[LoopDisk]:
    """btrfs where the machine's data disk belongs: it answers EIO for a block that does not fit its checksum."""
    shutil.rmtree(machine.root / "data", ignore_errors=True)
    disk = LoopDisk(machine.root / "disk.img", machine.root / "data", "btrfs", 320 * 2**20)
    disk.mount()
    machine.write_config(cache=f'mount = "{machine.root}/data"')
    yield disk
    disk.unmount()


@pytest.fixture(scope="session", autouse=True)
def descriptions() -> Iterator[None]:
    """botocore's descriptions of S3 are read once, not for each store that a test opens: four fifths of its time."""
    loader = s3_settings._S3Loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_settings, "_S3Loader", lambda: loader)
        yield


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with seaweedfs(directory_of_run(tmp_path_factory.getbasetemp()) / "seaweedfs") as server:
        yield server

"""A repair on a disk that has no room for a second copy of the damaged file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.loop_disk import mounted
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES

pytestmark = pytest.mark.root
CHUNKS = 6
LEFT_BYTES = 4 * CHUNK_BYTES
"""One for the chunk, one to spare, and two for the file system."""


@contextmanager
def mounted_as_data(machine: Machine, kind: str) -> Iterator[None]:
    """A file system where the machine's data disk belongs."""
    with mounted(machine.root / "data", kind):
        machine.write_config(cache=f'mount = "{machine.root}/data"')
        yield


def fill(directory: Path) -> None:
    """Takes all room but `LEFT_BYTES`."""
    numbers = os.statvfs(directory)
    with open(directory / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, numbers.f_bavail * numbers.f_frsize - LEFT_BYTES)


def damage(machine: Machine) -> dict[str, tuple[object, ...]]:
    """Leaves a cache with a file of six chunks, one of which is damaged; returns what it was when it was backed up."""
    big = {"big/model.safetensors": safetensors_bytes({"x": os.urandom((CHUNKS - 1) * CHUNK_BYTES)})}
    repository = hf_snapshot(machine.cache, {**pipeline_files(), **big})
    machine.run("backup")
    before = listing(machine.cache)
    blob = next(place for place in (repository / "blobs").iterdir() if place.stat().st_size > CHUNK_BYTES)
    with open(blob, "r+b") as file:
        file.seek(2 * CHUNK_BYTES)
        file.write(bytes(4096))
        os.fsync(file.fileno())
    return before


def test_where_extents_are_shared_a_repair_takes_room_for_the_damaged_chunk_only(machine: Machine) -> None:
    with mounted_as_data(machine, "xfs"):
        good = damage(machine)
        fill(machine.root / "data")
        document = machine.json("verify", "--deep", "--repair", expected=2)
        assert {finding["mended"] for finding in document["findings"]} == {True}
        assert sum(use["read_bytes"] for result in document["snapshots"] for use in result["sources"]) == CHUNK_BYTES
        assert listing(machine.cache) == good


def test_where_they_are_not_it_is_refused_before_anything_is_written(machine: Machine) -> None:
    with mounted_as_data(machine, "ext4"):
        damage(machine)
        damaged = listing(machine.cache)
        fill(machine.root / "data")
        refused = machine.run("verify", "--deep", "--repair", expected=1)
        assert "ZS104" in refused.stderr
        assert listing(machine.cache) == damaged

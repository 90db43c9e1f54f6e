"""Which file system: memory is told from disks, and memory is not reserved beforehand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import Bench
from zimage_syncd.disk.file_system import is_in_memory, type_of
from zimage_syncd.model.path import RelPath


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounts a tmpfs")
    place = tmp_path / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64M", "memory", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_memory_is_told_by_a_path_and_by_a_descriptor(memory: Path) -> None:
    descriptor = os.open(memory, os.O_RDONLY)
    assert is_in_memory(descriptor)
    assert type_of(str(memory)) == type_of(descriptor) == 0x01021994
    os.close(descriptor)
    assert type_of("/nowhere") is None


def test_a_partial_in_memory_takes_pages_as_it_is_written(memory: Path, bench: Bench) -> None:
    there = Bench(memory, bench.clock)
    partial = there.disk.begin_file(RelPath("models/x"), 200 * 2**20)  # more than there is
    partial.write(2**20, memoryview(bytes(2**20)))
    (place,) = there.root.joinpath("models").iterdir()
    assert place.stat().st_blocks * 512 == 2**20
    assert place.stat().st_size == 200 * 2**20
    partial.close()

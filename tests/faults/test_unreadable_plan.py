"""A plan on a disk that cannot give some sectors, and of any restore: it looks, and leaves everything as it was."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.disk.partial import PartialFile, partial_name
from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath

pytestmark = pytest.mark.root


def stats(root: Path) -> dict[str, tuple[int, ...]]:
    """All that a write would change of a directory and what is in it, but the state: what was read is remembered."""
    places = [root, *(place for place in root.rglob("*") if ".zimage-syncd" not in place.parts)]
    found = {str(place.relative_to(root)): place.lstat() for place in places}
    return {
        name: (seen.st_ino, seen.st_size, seen.st_blocks, seen.st_mtime_ns, seen.st_ctime_ns)
        for name, seen in found.items()
    }


def test_a_plan_lets_go_of_nothing_that_the_disk_cannot_give(machine: Machine, data_disk: LoopDisk) -> None:
    content = os.urandom(4 * CHUNK_BYTES)
    big = safetensors_bytes({"x": content})
    repository = hf_snapshot(machine.cache, {**pipeline_files(), "big/model.safetensors": big})
    before = listing(machine.cache)
    machine.run("backup")
    blob = next(place for place in (repository / "blobs").iterdir() if place.stat().st_size == len(big))
    blob.unlink()
    path = RelPath(str(blob.relative_to(machine.cache)))
    left = PartialFile(Tree(str(machine.cache)), path, len(big))
    left.write(0, memoryview(big)[: 3 * CHUNK_BYTES])  # what a killed restore leaves
    left.close()
    data_disk.flip_below(content[CHUNK_BYTES + 5000 : CHUNK_BYTES + 5064])
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        (blob.parent / partial_name(path)).read_bytes()

    seen = stats(machine.cache)
    plan = machine.json("restore", "--dry-run")
    assert stats(machine.cache) == seen
    lacking = len(big) - 2 * CHUNK_BYTES  # one that is unreadable, and what was never written
    assert plan["fetch_bytes"] == lacking
    report = machine.json("restore")
    assert [use for result in report["snapshots"] for use in result["sources"]] == [
        {"source": "bucket", "read_bytes": lacking}
    ]
    assert listing(machine.cache) == before


@pytest.mark.parametrize("there", ["all of it", "nothing", "a partial of another size"])
def test_a_plan_leaves_the_cache_as_it_was(machine: Machine, there: str) -> None:
    repository = hf_snapshot(machine.cache, pipeline_files())
    machine.run("backup")
    if there != "all of it":
        shutil.rmtree(repository)
    if there == "a partial of another size":
        blob = max((machine.root / "bucket/blobs").rglob("?" * 64), key=lambda place: place.stat().st_size)
        path = RelPath(f"{repository.relative_to(machine.cache)}/blobs/{blob.name}")
        left = PartialFile(Tree(str(machine.cache)), path, 100_000)
        left.write(0, memoryview(bytes(100_000)))
        left.close()
    seen = stats(machine.cache)
    machine.json("restore", "--dry-run")
    assert stats(machine.cache) == seen
    machine.run("restore")
    machine.run("verify", "--deep")

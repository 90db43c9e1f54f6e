"""Sectors that a disk cannot give: a repair keeps what can be read, and fetches the rest.

btrfs answers EIO for a block that does not fit its checksum, so a damaged image is a disk that fails.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES

pytestmark = pytest.mark.root
BIG = "big/model.safetensors"


def quarantined(machine: Machine) -> list[Path]:
    return [place for place in (machine.root / "data/.zimage-syncd/quarantine").rglob("*") if place.is_file()]


@pytest.mark.parametrize("shares", [True, False], ids=["reflink", "copy"])
@pytest.mark.parametrize("touched", [False, True], ids=["ours", "written by others"])
def test_an_unreadable_chunk_is_fetched_and_the_rest_is_kept(
    machine: Machine, data_disk: LoopDisk, *, shares: bool, touched: bool
) -> None:
    content = os.urandom(4 * CHUNK_BYTES)
    repository = hf_snapshot(machine.cache, {**pipeline_files(), BIG: safetensors_bytes({"x": content})})
    before = listing(machine.cache)
    machine.run("backup")
    shutil.rmtree(machine.cache / "hub")
    machine.run("restore")  # what it has written is known as ours
    blob = next(place for place in (repository / "blobs").iterdir() if place.stat().st_size > CHUNK_BYTES)
    if touched:
        os.utime(blob)
    data_disk.flip_below(content[2 * CHUNK_BYTES + 5000 : 2 * CHUNK_BYTES + 5064])
    if not shares:
        # New files in here have no checksums, and share nothing with those that have (btrfs(5), nodatacow).
        subprocess.run(["chattr", "+C", str(blob.parent)], check=True)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        blob.read_bytes()
    document = machine.json("verify", "--deep", "--repair", expected=2)
    found = [(finding["problem"]["code"], finding["mended"]) for finding in document["findings"]]
    assert found == [("ZS110", True)]
    assert sum(use["read_bytes"] for result in document["snapshots"] for use in result["sources"]) == CHUNK_BYTES
    assert listing(machine.cache) == before
    machine.run("verify", "--deep")
    # What somebody wrote is kept, unreadable as it is; what this program knew is not.
    assert [place.name for place in quarantined(machine)] == ([blob.name] if touched else [])

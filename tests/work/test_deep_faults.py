"""Disks that fail while a deep verification reads: the file and the chunk are named, the rest is verified."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.caches import COMMIT, hf_snapshot
from tests.support.faulty_disk import make_faulty, unreadable
from tests.support.site import Bench, StopAfter
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.verify import verify

ALL = Selection()
BIG = "big/model.safetensors"
SMALL = "scheduler/scheduler_config.json"


@pytest.fixture
def base(bench: Bench, content: random.Random) -> Path:
    place = bench.directory / "bucket"
    place.mkdir()
    archive = ObjectArchive("bucket", DirectoryStore(str(place), "o"), bench.clock, "o", bench.site().owns, "host")
    files = {**pipeline_files(), BIG: safetensors_bytes({"x": content.randbytes(2 * CHUNK_BYTES + 4099)})}
    repository = hf_snapshot(bench.root, files)
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    return repository / "snapshots" / COMMIT


def deep(bench: Bench) -> Report:
    return verify(bench.site(), [], ALL, deep=True, repair=False)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_every_byte_is_read_once(bench: Bench, base: Path) -> None:
    disk = make_faulty(bench.disk)
    report = deep(bench)
    assert report.exit_code == 0
    blobs = list((base.parents[1] / "blobs").iterdir())
    assert sum(length for _, _, length in disk.reads) == sum(place.stat().st_size for place in blobs)
    assert sum(result.checked_bytes for result in report.snapshots) == sum(place.stat().st_size for place in blobs)
    assert len({(name, offset) for name, offset, _ in disk.reads}) == sum(
        max(1, -(-place.stat().st_size // CHUNK_BYTES)) for place in blobs if place.stat().st_size
    )


def test_a_chunk_that_the_disk_cannot_give_is_named_and_the_rest_is_verified(bench: Bench, base: Path) -> None:
    name = (base / BIG).resolve().name
    disk = make_faulty(bench.disk, unreadable(name, CHUNK_BYTES))
    report = deep(bench)
    (finding,) = report.findings
    assert (finding.problem, finding.chunks) == (problems.DISK_ERROR, (1,))
    assert name in finding.subject
    assert finding.detail == "chunk 2 of 3 cannot be read (Input/output error)"
    assert {offset for seen, offset, _ in disk.reads if seen == name} == {0, 2 * CHUNK_BYTES}


def test_unreadable_and_damaged_chunks_are_told_apart(bench: Bench, base: Path) -> None:
    place = (base / BIG).resolve()
    with place.open("r+b") as file:
        file.seek(2 * CHUNK_BYTES + 5)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    make_faulty(bench.disk, unreadable(place.name, 0, CHUNK_BYTES))
    (finding,) = deep(bench).findings
    assert (finding.problem, finding.chunks) == (problems.DISK_ERROR, (0, 1, 2))
    assert finding.detail == "chunks 1, 2 of 3 cannot be read (Input/output error); chunk 3 of 3 is damaged"


def test_a_file_that_is_truncated_half_way_is_called_changing_and_not_damaged(bench: Bench, base: Path) -> None:
    place = (base / BIG).resolve()

    def truncate(descriptor: int, offset: int) -> None:
        if offset == CHUNK_BYTES:
            os.truncate(place, CHUNK_BYTES)

    make_faulty(bench.disk, truncate)
    (finding,) = deep(bench).findings
    assert finding.problem == problems.FILE_CHANGING
    assert place.name in finding.subject


def test_a_file_that_vanishes_half_way_is_read_to_its_end_and_the_next_look_misses_it(bench: Bench, base: Path) -> None:
    place = (base / BIG).resolve()

    def remove(descriptor: int, offset: int) -> None:
        if offset == CHUNK_BYTES:
            place.unlink(missing_ok=True)

    make_faulty(bench.disk, remove)
    assert deep(bench).exit_code == 0
    assert problems.FILE_MISSING in {finding.problem for finding in deep(bench).findings}


def test_a_file_that_vanishes_between_look_and_open_is_missing(
    bench: Bench, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = (base / SMALL).resolve()
    opened = bench.disk.open_read

    def open_read(path: str) -> int:
        if path.endswith(place.name):
            place.unlink(missing_ok=True)
        return opened(path)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.disk, "open_read", open_read)
    findings = deep(bench).findings
    assert [finding.problem for finding in findings] == [problems.FILE_MISSING]


def test_a_stop_leaves_no_file_open(bench: Bench, base: Path) -> None:
    before = descriptors()
    bench.cancel = StopAfter(40)
    with pytest.raises(Stopped):
        deep(bench)
    assert descriptors() == before

"""The bytes that a plan says a restore will fetch are those that it then fetches."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.clock import HeldClock
from tests.support.loop_disk import LoopDisk
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.disk.partial import PartialFile
from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource, plan_restore

ALL = Selection()
ONE = "models/org--name/snapshots/master/one.bin"
TWO = "models/org--name/snapshots/master/two.bin"


def lose(*names: str) -> Callable[[Bench], None]:
    def act(bench: Bench) -> None:
        for name in names:
            place = bench.root / name
            shutil.rmtree(place) if place.is_dir() else place.unlink()

    return act


def damage(*names: str, chunk: int = 0) -> Callable[[Bench], None]:
    def act(bench: Bench) -> None:
        for name in names:
            with (bench.root / name).open("r+b") as file:
                file.seek(chunk * CHUNK_BYTES + 7)
                file.write(b"damaged")

    return act


def begin(name: str, *, good: bool) -> Callable[[Bench], None]:
    """What a killed job leaves: the second chunk, or something else in its place."""

    def act(bench: Bench) -> None:
        data = (bench.root / name).read_bytes()
        partial = PartialFile(Tree(str(bench.root)), RelPath(name), len(data))
        second = data[CHUNK_BYTES : 2 * CHUNK_BYTES]
        partial.write(CHUNK_BYTES, memoryview(second if good else bytes(CHUNK_BYTES)))
        partial.close()

    return act


CASES: dict[str, list[Callable[[Bench], None]]] = {
    "nothing is lost": [],
    "all is lost": [lose("hub", "models")],
    "one of two layouts is lost": [lose("models")],
    "one of two layouts and its records are lost": [lose("models", "../.zimage-syncd/manifests")],
    "both of two equal files": [lose("hub", ONE, TWO)],
    "one of two equal files": [lose("hub", ONE)],
    "a partial that holds a chunk": [begin(ONE, good=True), lose("hub", ONE, TWO)],
    "a partial that holds nothing good": [begin(ONE, good=False), lose("hub", ONE, TWO)],
}
REPAIRS: dict[str, list[Callable[[Bench], None]]] = {
    "the same damage twice": [damage(ONE, TWO, chunk=1)],
    "damage to a chunk that the file has twice": [damage(ONE, chunk=0), damage(TWO, chunk=2)],
    "damage to a chunk and its copy": [damage(ONE, TWO, chunk=0), damage(ONE, TWO, chunk=2)],
    "a repair that was begun": [begin(ONE, good=True), damage(ONE), lose(TWO)],
}


def files(content: random.Random) -> dict[str, bytes]:
    chunk = content.randbytes(CHUNK_BYTES)
    data = chunk + content.randbytes(CHUNK_BYTES) + chunk + b"end"
    return {**pipeline_files(), "one.bin": data, "two.bin": data, "small.txt": b"small", "copy.txt": b"small"}


def assert_foreseen(bench: Bench, mode: LinkMode, case: str, content: random.Random) -> int:
    (bench.directory / "bucket").mkdir()
    store = DirectoryStore(str(bench.directory / "bucket"), "owner-1")
    archive = ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")
    whole = files(content)
    modelscope_snapshot(bench.root, whole)
    if case in CASES:
        hf_snapshot(bench.root, whole)
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    before = listing(bench.root)
    for act in {**CASES, **REPAIRS}[case]:
        act(bench)
    sources = [RestoreSource(archive, mode)]
    plan = plan_restore(bench.site(), sources, ALL).plan
    report = restore(bench.site(), sources, ALL)
    assert report.exit_code == 0
    assert listing(bench.root) == before
    used = [use for result in report.snapshots for use in result.sources]
    assert plan.fetch_bytes == sum(use.read_bytes for use in used if use.source == "bucket")
    assert plan.fetch_bytes == sum(snapshot.fetch_bytes for snapshot in plan.snapshots)
    return plan.fetch_bytes


@pytest.mark.parametrize("case", [*CASES, *REPAIRS])
def test_a_plan_says_what_a_restore_fetches(bench: Bench, content: random.Random, case: str) -> None:
    assert_foreseen(bench, LinkMode.COPY, case, content)


@pytest.fixture
def on_btrfs(tmp_path: Path) -> Iterator[Bench]:
    disk = LoopDisk(tmp_path / "disk.img", tmp_path / "disk", "btrfs", 640 * 2**20)
    disk.mount()
    bench = Bench(tmp_path / "disk", HeldClock())
    yield bench
    bench.ledger.close()
    disk.unmount()


@pytest.mark.root
@pytest.mark.parametrize("case", ["all is lost", "a partial that holds a chunk", "damage to a chunk and its copy"])
def test_a_plan_says_what_a_restore_by_reflink_fetches(on_btrfs: Bench, content: random.Random, case: str) -> None:
    fetched = assert_foreseen(on_btrfs, LinkMode.AUTO, case, content)
    assert fetched == 0 or case != "all is lost"

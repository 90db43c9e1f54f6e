"""kill -9 at twenty points of a backup and a restore: nothing is lost, nothing half is believed, the next one ends."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.content import Content
from tests.support.loop_disk import KINDS, mounted
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES, Manifest

DYING = Path(__file__).parents[1] / "support" / "dying.py"
MOMENTS = 6


@dataclass
class World:
    """A cache, a bucket and a configuration."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "data/cache"

    @property
    def bucket(self) -> Path:
        return self.root / "bucket"

    def write_config(self) -> None:
        text = (
            f'[cache]\ndir = "{self.cache}"\n[stores.bucket]\nurl = "file://{self.bucket}"\n'
            f'[daemon]\nstate_dir = "{self.root}/system"\n'
        )
        (self.root / "config.toml").write_text(text)
        (self.root / "config.toml").chmod(0o600)

    def begin_with(self, healthy: World) -> None:
        """Takes the cache of a world in which everything was done, as it was before that."""
        shutil.copytree(healthy.root / "original", self.cache, symlinks=True)
        shutil.rmtree(self.cache / ".zimage-syncd", ignore_errors=True)
        self.write_config()

    def begin_empty(self, healthy: World) -> None:
        """Has no cache, and the bucket of a world in which everything was done."""
        self.cache.parent.mkdir(exist_ok=True)
        self.bucket.symlink_to(healthy.bucket)
        self.write_config()

    def die(self, job: str, healthy: World, number: int) -> None:
        """Begins a job, which is killed at one of its moments."""
        assert self.run(job, at=moment(healthy, job, number)).returncode == -9

    def finish(self, job: str) -> None:
        finished = self.run(job)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def run(self, *arguments: str, at: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(DYING), str(at), "--config", str(self.root / "config.toml"), *arguments]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ZIMAGE_SYNCD")},
            "COUNT_FILE": str(self.root / "count"),
            "PYTHONPATH": str(DYING.parents[2]),
        }
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def count(self) -> int:
        return int((self.root / "count").read_text())

    def blobs(self) -> list[str]:
        return sorted(place.name for place in (self.bucket / "blobs").rglob("*") if place.is_file())

    def half_written(self) -> list[Path]:
        hidden = [place for place in self.bucket.rglob(".*") if place.is_file()]
        return hidden + list(self.cache.rglob(".zimage-syncd-*"))

    def assert_what_is_final_is_of(self, whole: Mapping[str, object]) -> None:
        """Nothing under a final name is half, or another's."""
        if self.cache.exists():
            final = {path: entry for path, entry in listing(self.cache).items() if ".zimage-syncd-" not in path}
            assert final.items() <= whole.items()

    def assert_no_reference_to_missing_bytes(self) -> None:
        for ref in (self.bucket / "refs").rglob("*.json"):
            if ref.name.startswith("."):
                continue
            manifest_id = ref.stem.split("-", 1)[1]
            (place,) = (self.bucket / "manifests").rglob(f"{manifest_id}.json")
            manifest = Manifest.from_bytes(place.read_bytes(), manifest_id)
            for file in manifest.files:
                blob = self.bucket / "blobs" / file.sha256[:2] / file.sha256
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == file.sha256


def build(root: Path) -> World:
    source = Content(7)
    files = {
        **pipeline_files(),
        "big/model.safetensors": safetensors_bytes({"x": source.randbytes(2 * CHUNK_BYTES + 999)}),
        "second/model.safetensors": safetensors_bytes({"y": source.randbytes(CHUNK_BYTES + 5)}),
    }
    world = World(root)
    world.cache.mkdir(parents=True)
    hf_snapshot(world.cache, files, refs=("main", "v1"))
    modelscope_snapshot(world.cache, {**files, "only-here.txt": b"x" * 10})
    world.write_config()
    return world


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world after one undisturbed backup and restore, with the counts of both."""
    world = build(tmp_path_factory.mktemp("healthy"))
    world.finish("backup")
    (world.root / "backup-count").write_text(str(world.count()))
    (world.root / "expected-blobs").write_text("\n".join(world.blobs()))
    before = listing(world.cache)
    shutil.copytree(world.cache, world.root / "original", symlinks=True)
    shutil.rmtree(world.cache)
    world.finish("restore")
    (world.root / "restore-count").write_text(str(world.count()))
    assert listing(world.cache) == before
    return world


def moment(healthy: World, job: str, number: int) -> int:
    count = int((healthy.root / f"{job}-count").read_text())
    return 1 + random.Random(number).randrange(number * count // MOMENTS, max((number + 1) * count // MOMENTS, 1))


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_killed_backup_leaves_nothing_false_and_the_next_one_ends_it(
    healthy: World, tmp_path: Path, number: int
) -> None:
    world = World(tmp_path)
    world.begin_with(healthy)
    world.die("backup", healthy, number)
    world.assert_no_reference_to_missing_bytes()
    world.finish("backup")
    world.assert_no_reference_to_missing_bytes()
    assert world.blobs() == (healthy.root / "expected-blobs").read_text().splitlines()
    assert world.half_written() == []
    assert list((world.bucket / "intents").glob("*")) == []
    assert len(list((world.bucket / "refs").rglob("*.json"))) == 3


@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_killed_restore_leaves_nothing_half_and_the_next_one_ends_it(
    healthy: World, tmp_path: Path, number: int
) -> None:
    world = World(tmp_path)
    world.begin_empty(healthy)
    whole = listing(healthy.root / "original")
    world.die("restore", healthy, number)
    world.assert_what_is_final_is_of(whole)
    world.finish("restore")
    assert listing(world.cache) == whole
    assert list(world.cache.rglob(".zimage-syncd-*")) == []


@pytest.mark.long
@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_backup_that_lost_its_power_leaves_nothing_false_and_the_next_one_is_there_when_it_ends(
    healthy: World, tmp_path: Path, number: int, kind: str
) -> None:
    world = World(tmp_path)
    with mounted(world.bucket, kind) as disk:
        world.begin_with(healthy)
        world.die("backup", healthy, number)
        disk.cut_power()
        world.assert_no_reference_to_missing_bytes()
        world.finish("backup")
        disk.cut_power()
        world.assert_no_reference_to_missing_bytes()
        assert world.blobs() == (healthy.root / "expected-blobs").read_text().splitlines()
        assert len(list((world.bucket / "refs").rglob("*.json"))) == 3


@pytest.mark.long
@pytest.mark.root
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(MOMENTS))
def test_a_restore_that_lost_its_power_leaves_nothing_half_and_the_next_one_is_there_when_it_ends(
    healthy: World, tmp_path: Path, number: int, kind: str
) -> None:
    world = World(tmp_path)
    with mounted(world.cache.parent, kind) as disk:
        world.begin_empty(healthy)
        whole = listing(healthy.root / "original")
        world.die("restore", healthy, number)
        disk.cut_power()
        world.assert_what_is_final_is_of(whole)
        world.finish("restore")
        disk.cut_power()
        assert listing(world.cache) == whole

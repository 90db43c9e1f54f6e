"""kill -9 at random moments, up to three times in a row: whatever it hit, the next run ends with the same bytes.

The moments are the same in every run as far as the machine's speed is: `ZIMAGE_SYNCD_KILL_SEED` gives others.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.content import Content
from tests.support.s3_server import S3Server
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES, Manifest

FEW, MANY = 2, 100
"""Kills in the short and in the long version, for each job and store."""

SEED_NAME = "ZIMAGE_SYNCD_KILL_SEED"
SEED = os.environ.get(SEED_NAME, "1")
"""What the moments are drawn from; another one draws others."""


@dataclass
class Shop:
    """Where stores are: a directory, or a bucket on a server."""

    root: Path
    server: S3Server | None
    bucket: str = ""

    def table(self, name: str) -> str:
        if self.server is None:
            return f'url = "file://{self.root}/{name}"\n'
        return f'url = "s3://{self.bucket}/{name}"\nendpoint_url = "{self.server.endpoint_url}"\nregion = "us-east-1"\n'

    def objects(self, name: str) -> dict[str, bytes]:
        """Everything in a store, half-written files of ours included."""
        if self.server is None:
            top = self.root / name
            return {str(at.relative_to(top)): at.read_bytes() for at in top.rglob("*") if at.is_file()}
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{name}/")
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return {
            key.removeprefix(f"{name}/"): client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys
        }

    def open_uploads(self) -> list[str]:
        if self.server is None:
            return []
        answer = self.server.client().list_multipart_uploads(Bucket=self.bucket)
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_SYNCD", "AWS_"))}
        kept["PYTHONPATH"] = str(Path(__file__).parents[2])
        if self.server is not None:
            kept |= {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        return kept


@dataclass
class World:
    """A cache, and the store with which it works."""

    root: Path
    shop: Shop
    store: str
    after: list[float] = field(default_factory=list)
    """When it was killed, in seconds."""

    @property
    def cache(self) -> Path:
        return self.root / "data/cache"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        config = self.root / "config.toml"
        config.write_text(
            f'[cache]\ndir = "{self.cache}"\n[stores.bucket]\n{self.shop.table(self.store)}'
            f'[daemon]\nstate_dir = "{self.root}/system"\n'
        )
        config.chmod(0o600)
        return subprocess.Popen(
            [sys.executable, "-m", "zimage_syncd", "--config", str(config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.shop.environment(),
        )

    def finish(self, *arguments: str) -> str:
        """Runs to the end; returns what it said."""
        process = self.start(*arguments)
        said, wrong = process.communicate()
        assert process.returncode == 0, f"{said}{wrong}"
        return said

    def kill(self, after_s: float, *arguments: str) -> bool:
        """Whether the kill came before the end."""
        process = self.start(*arguments)
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.after.append(after_s)
        return process.returncode == -signal.SIGKILL

    def assert_nothing_false(self) -> None:
        """No blob with a wrong name, and no reference to what is not there."""
        found = self.shop.objects(self.store)
        names = {key.rsplit("/", 1)[-1].removesuffix(".json"): data for key, data in found.items()}
        for key, data in found.items():
            name = key.rsplit("/", 1)[-1]
            if name.startswith("."):
                continue
            if key.startswith("blobs/"):
                assert hashlib.sha256(data).hexdigest() == name
            if key.startswith("refs/"):
                manifest_id = name.removesuffix(".json").split("-", 1)[1]
                manifest = Manifest.from_bytes(names[manifest_id], manifest_id)
                assert {file.sha256 for file in manifest.files} <= names.keys()


@dataclass
class Model:
    """A world after an undisturbed backup and restore."""

    world: World
    original: Path
    whole: dict[str, tuple[object, ...]]
    took_s: dict[str, float]

    def payload(self, world: World) -> set[str]:
        """What a store holds that does not depend on the hour."""
        return {key for key in world.shop.objects(world.store) if key.startswith(("blobs/", "manifests/"))}


# test_kill.py kills at twelve points of what is done with a directory.
@pytest.fixture(scope="module", params=[pytest.param("file", marks=pytest.mark.long), "s3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    root = tmp_path_factory.mktemp("model")
    server: S3Server | None = request.getfixturevalue("seaweed") if request.param == "s3" else None
    (root / "shop").mkdir()
    shop = Shop(root / "shop", server, server.make_bucket() if server else "")
    source = Content(23)
    files = {
        **pipeline_files(),
        "big/model.safetensors": safetensors_bytes({"x": source.randbytes(3 * CHUNK_BYTES + 999)}),
        "second/model.safetensors": safetensors_bytes({"y": source.randbytes(2 * CHUNK_BYTES + 5)}),
    }
    world = World(root, shop, "model")
    hf_snapshot(world.cache, files, refs=("main", "v1"))
    modelscope_snapshot(world.cache, {**files, "only-here.txt": b"x" * 10})
    whole = listing(world.cache)
    shutil.copytree(world.cache, root / "original", symlinks=True)
    took_s = {}
    for job in ("backup", "restore"):
        began_s = time.monotonic()
        world.finish(job)
        took_s[job] = time.monotonic() - began_s
        shutil.rmtree(world.cache, ignore_errors=job == "restore")
    return Model(world, root / "original", whole, took_s)


@contextmanager
def telling(world: World) -> Iterator[None]:
    """Says of whatever goes wrong which kills led there."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"killed after {world.after} seconds, with {SEED_NAME}={SEED}")
        raise


def rounds(model: Model, job: str, kills: int, make: Callable[[int], World]) -> None:
    """Kills a job until the number is reached; after each one to three kills it has to come right."""
    dice = random.Random(f"{job} {kills} {SEED}")
    done = number = 0
    while done < kills:
        number += 1
        world = make(number)
        with telling(world):
            for _ in range(min(dice.randint(1, 3), kills - done)):
                done += world.kill(dice.uniform(0.15, model.took_s[job]), job)
                world.assert_nothing_false()
            world.finish(job)
            assert_right(model, job, world)
        shutil.rmtree(world.root)


def assert_right(model: Model, job: str, world: World) -> None:
    """A job that ran to its end after kills left what it leaves undisturbed."""
    if job == "restore":
        assert listing(world.cache) == model.whole
    else:
        world.assert_nothing_false()
        assert model.payload(world) == model.payload(model.world)
        left = [key for key in world.shop.objects(world.store) if key.startswith("intents/") or "/." in f"/{key}"]
        assert left == []
    assert world.shop.open_uploads() == []
    assert [str(at) for at in world.root.rglob(".zimage-syncd-*")] == []


def kill_backups(model: Model, tmp_path: Path, kills: int) -> None:
    def make(number: int) -> World:
        world = World(tmp_path / str(number), model.world.shop, f"backup-{kills}-{number}")
        shutil.copytree(model.original, world.cache, symlinks=True)
        return world

    rounds(model, "backup", kills, make)


def kill_restores(model: Model, tmp_path: Path, kills: int) -> None:
    rounds(model, "restore", kills, lambda number: World(tmp_path / str(number), model.world.shop, model.world.store))


def test_a_backup_killed_at_a_random_moment_comes_right(model: Model, tmp_path: Path) -> None:
    kill_backups(model, tmp_path, FEW)


def test_a_restore_killed_at_a_random_moment_comes_right(model: Model, tmp_path: Path) -> None:
    kill_restores(model, tmp_path, FEW)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_backup_killed_at_many_moments_comes_right(model: Model, tmp_path: Path) -> None:
    kill_backups(model, tmp_path, MANY)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_restore_killed_at_many_moments_comes_right(model: Model, tmp_path: Path) -> None:
    kill_restores(model, tmp_path, MANY)

"""kill -9 in a backup to a real S3 server: no reference to missing bytes, and the next run leaves no upload open."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.content import Content
from tests.support.s3_server import S3Server
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES, Manifest

DYING = Path(__file__).parents[1] / "support" / "dying.py"
MOMENTS = 3


@dataclass
class World:
    """A cache and a bucket on the server."""

    root: Path
    server: S3Server
    bucket: str

    def run(self, *arguments: str, at: int = 0) -> subprocess.CompletedProcess[str]:
        config = self.root / "config.toml"
        config.write_text(
            f'[cache]\ndir = "{self.root}/data/cache"\n[stores.bucket]\nurl = "s3://{self.bucket}/p"\n'
            f'endpoint_url = "{self.server.endpoint_url}"\nregion = "us-east-1"\n'
            f'[daemon]\nstate_dir = "{self.root}/system"\n'
        )
        config.chmod(0o600)
        command = [sys.executable, str(DYING), str(at), "--config", str(config), *arguments]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_SYNCD", "AWS_"))},
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "COUNT_FILE": str(self.root / "count"),
            "PYTHONPATH": str(DYING.parents[2]),
        }
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    def objects(self, prefix: str) -> dict[str, bytes]:
        client = self.server.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"p/{prefix}")
        names = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return {name: client.get_object(Bucket=self.bucket, Key=name)["Body"].read() for name in names}

    def assert_no_reference_to_missing_bytes(self) -> None:
        blobs = {
            key.rsplit("/", 1)[-1]: hashlib.sha256(data).hexdigest() for key, data in self.objects("blobs/").items()
        }
        assert {name: digest for name, digest in blobs.items() if name != digest} == {}
        manifests = {
            key.rsplit("/", 1)[-1].removesuffix(".json"): data for key, data in self.objects("manifests/").items()
        }
        for ref in self.objects("refs/"):
            manifest_id = ref.rsplit("/", 1)[-1].removesuffix(".json").split("-", 1)[1]
            manifest = Manifest.from_bytes(manifests[manifest_id], manifest_id)
            assert {file.sha256 for file in manifest.files} <= set(blobs)

    def open_uploads(self) -> list[str]:
        answer = self.server.client().list_multipart_uploads(Bucket=self.bucket)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


def fill(root: Path) -> None:
    source = Content(11)
    files = {
        **pipeline_files(),
        "big/model.safetensors": safetensors_bytes({"x": source.randbytes(3 * CHUNK_BYTES + 999)}),
        "second/model.safetensors": safetensors_bytes({"y": source.randbytes(2 * CHUNK_BYTES + 5)}),
    }
    hf_snapshot(root / "data/cache", files)


@pytest.fixture(scope="module")
def count(seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Changes and pieces of an undisturbed backup."""
    world = World(tmp_path_factory.mktemp("healthy"), seaweed, seaweed.make_bucket())
    fill(world.root)
    finished = world.run("backup")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return int((world.root / "count").read_text())


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, MOMENTS))])
def test_a_killed_backup_leaves_nothing_open_behind_the_next_one(
    seaweed: S3Server, count: int, tmp_path: Path, number: int
) -> None:
    world = World(tmp_path, seaweed, seaweed.make_bucket())
    fill(world.root)
    before = listing(tmp_path / "data/cache")
    killed = world.run(
        "backup", at=1 + random.Random(number).randrange(number * count // MOMENTS, (number + 1) * count // MOMENTS)
    )
    assert killed.returncode in {-9, 0}  # threads do not count the same twice
    world.assert_no_reference_to_missing_bytes()
    finished = world.run("backup")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    world.assert_no_reference_to_missing_bytes()
    assert world.open_uploads() == []
    assert world.objects("intents/") == {}
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    finished = world.run("restore")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert listing(tmp_path / "data/cache") == before

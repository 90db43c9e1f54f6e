"""A transfer that is killed half-way: the next run transfers the other half, and the end is the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.content import Content
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.s3_server import S3Server
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES

ENOUGH = 0.55
"""Of all bytes, what the second run may transfer: half of them, and what was on its way in the moment of the kill."""


@dataclass
class World:
    """A cache, a bucket, and a proxy before it that counts."""

    root: Path
    server: S3Server
    bucket: str
    proxy: FaultyProxy
    chunks: int

    @property
    def cache(self) -> Path:
        return self.root / "data/cache"

    @property
    def total_bytes(self) -> int:
        return self.chunks * CHUNK_BYTES

    def fill(self) -> None:
        parts = [self.chunks // 2, self.chunks - self.chunks // 2]
        source = Content(13)
        large = {
            f"part{number}/model.safetensors": safetensors_bytes({"x": source.randbytes(count * CHUNK_BYTES - 999)})
            for number, count in enumerate(parts)
        }
        hf_snapshot(self.cache, {**pipeline_files(), **large})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        config = self.root / "config.toml"
        config.write_text(
            f'[cache]\ndir = "{self.cache}"\n[stores.bucket]\nurl = "s3://{self.bucket}/p"\n'
            f'endpoint_url = "{self.proxy.url}"\nregion = "us-east-1"\n'
            f'[backup]\nupload_rate = "80MB/s"\n[daemon]\nstate_dir = "{self.root}/system"\n'
        )
        config.chmod(0o600)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_SYNCD", "AWS_"))}
        keys = {"AWS_ACCESS_KEY_ID": self.server.access_key, "AWS_SECRET_ACCESS_KEY": self.server.secret_key}
        return subprocess.Popen(
            [sys.executable, "-m", "zimage_syncd", "--config", str(config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, **keys, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def finish(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, wrong = process.communicate()
        assert process.returncode == 0, said + wrong
        return said

    def kill(self, job: str, when: Callable[[], bool]) -> None:
        process = self.start(job)
        while not when():
            assert process.poll() is None, "it ended before it was half done"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def open_uploads(self) -> int:
        return len(self.server.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))


@pytest.mark.parametrize("chunks", [24, pytest.param(96, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_what_was_transferred_before_a_kill_is_not_transferred_again(
    seaweed: S3Server, tmp_path: Path, chunks: int
) -> None:
    with faulty_proxy(seaweed.endpoint_url) as proxy:
        world = World(tmp_path, seaweed, seaweed.make_bucket(), proxy, chunks)
        world.fill()
        before = listing(world.cache)
        half = 0.65 * world.total_bytes  # some of it is on its way in the moment of the kill

        world.kill("backup", lambda: proxy.sent_bytes > half)
        assert world.open_uploads() > 0
        proxy.sent_bytes = 0
        said = world.finish("backup")
        print(f"backup: {proxy.sent_bytes / world.total_bytes:.3f} of the bytes in the second run")
        assert proxy.sent_bytes <= ENOUGH * world.total_bytes
        assert "of it were there from an upload that was broken off" in said
        assert world.open_uploads() == 0

        shutil.rmtree(world.root / "data")
        proxy.given_bytes = 0
        world.kill("restore", lambda: proxy.given_bytes > half)
        proxy.given_bytes = 0
        world.finish("restore")
        print(f"restore: {proxy.given_bytes / world.total_bytes:.3f} of the bytes in the second run")
        assert proxy.given_bytes <= ENOUGH * world.total_bytes
        assert listing(world.cache) == before
        world.finish("verify", "--deep", "--store", "bucket")

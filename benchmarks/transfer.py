"""Backup, verified restore and deep verification against a real S3 server, beside s5cmd and plain copying.

    .venv/bin/python benchmarks/transfer.py --megabytes 512 --runs 3

Same data, same SeaweedFS on loopback, interleaved runs (A B A B …); medians of wall and of CPU seconds of the client's
process tree. s5cmd verifies nothing. The numbers of one run belong together; the machine is shared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.caches import hf_snapshot  # noqa: E402
from tests.support.seaweedfs import seaweedfs  # noqa: E402
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes  # noqa: E402

SHARES = (1246, 1246, 584, 495, 499, 12, 21)
"""Megabytes of Z-Image-Turbo's files at 1/8 of their size."""


def build(root: Path, megabytes: int) -> int:
    """Lays a Hugging Face cache out in the model's proportions; returns its bytes."""
    files = pipeline_files()
    for number, share in enumerate(SHARES):
        size = share * megabytes * 10**6 // sum(SHARES)
        files[f"part{number}/model.safetensors"] = safetensors_bytes({"x": os.urandom(size)})
    hf_snapshot(root, files)
    return sum(len(data) for data in files.values())


def measured(act: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of the child processes that `act` runs."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    act()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", default=None, help="where data and server lie; /dev/shm for RAM")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as place:
        run(Path(place), options.megabytes, options.runs)


def run(place: Path, megabytes: int, runs: int) -> None:
    """Builds, measures, prints."""
    (place / "server").mkdir()
    size = build(place / "cache", megabytes)
    with seaweedfs(place / "server") as server:
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": "us-east-1",
        }
        results: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for _ in range(runs):
            for name, act in rounds(
                place, server.endpoint_url, server.make_bucket(), server.make_bucket(), environment
            ):
                results[name].append(measured(act))
    print(f"{size / 1e6:.0f} MB, {runs} interleaved runs, medians")
    for name, values in results.items():
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{name:34} {wall:7.2f} s  {cpu:7.2f} CPU-s  {size / wall / 1e6:8.0f} MB/s")
    print(json.dumps({"size_bytes": size, "results": results}))


def rounds(
    place: Path, endpoint: str, ours: str, theirs: str, environment: dict[str, str]
) -> list[tuple[str, Callable[[], None]]]:
    """One round of everything that is compared."""
    cache, copy = place / "cache", place / "copy"
    config = place / "config.toml"
    config.write_text(
        f'[cache]\ndir = "{cache}"\n[stores.bucket]\nurl = "s3://{ours}/x"\nendpoint_url = "{endpoint}"\n'
        f'region = "us-east-1"\n[daemon]\nstate_dir = "{place}/state"\n'
    )
    shutil.rmtree(cache / ".zimage-syncd", ignore_errors=True)
    s5cmd = [shutil.which("s5cmd", path=str(Path(sys.executable).parent)) or "s5cmd", "--endpoint-url", endpoint]
    blobs = cache / "hub/models--org--name/blobs"

    def call(*command: str) -> Callable[[], None]:
        def act() -> None:
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        return act

    def fresh(act: Callable[[], None]) -> Callable[[], None]:
        def cleared() -> None:
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            act()

        return cleared

    zimage = [sys.executable, "-m", "zimage_syncd", "--config", str(config)]
    return [
        ("backup: zimage-syncd (hashes all)", call(*zimage, "backup")),
        ("backup: s5cmd", call(*s5cmd, "cp", f"{blobs}/", f"s3://{theirs}/")),
        ("backup again, nothing changed", call(*zimage, "backup")),
        ("restore: zimage-syncd (verifies all)", fresh(call(*zimage, "restore", "--to", str(copy)))),
        ("restore: s5cmd", fresh(call(*s5cmd, "cp", f"s3://{theirs}/*", f"{copy}/"))),
        ("restore: cp -r (no network)", fresh(call("cp", "-r", str(blobs), str(copy)))),
        ("verify --deep", call(*zimage, "verify", "--deep")),
        ("sha256sum, one after the other", call("sh", "-c", f"sha256sum {blobs}/*")),
    ]


if __name__ == "__main__":
    main()

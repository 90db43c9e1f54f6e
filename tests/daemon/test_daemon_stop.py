"""SIGTERM in the middle of a restore from a real S3 server: the daemon ends at once, and the next one goes on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

from tests.support.caches import hf_snapshot, listing
from tests.support.content import Content
from tests.support.daemon import QUIET, Daemon
from tests.support.machine import Machine
from tests.support.s3_server import S3Server
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES

SHARDS = 3
CHUNKS_A_SHARD = 5
BEFORE_BYTES = 6 * CHUNK_BYTES
"""What has arrived when the signal comes: some chunks are whole."""
MOST_S = 2.0
"""What a daemon may take to end."""


def written_bytes(daemon: Daemon) -> int:
    """What the daemon has written by now, to wherever."""
    counts = Path(f"/proc/{daemon.process.pid}/io").read_text()
    return int(next(line.split()[1] for line in counts.splitlines() if line.startswith("wchar:")))


def test_a_restore_at_full_speed_is_left_at_once_and_gone_on_with(seaweed: S3Server, machine: Machine) -> None:
    store = (
        f'url = "s3://{seaweed.make_bucket()}/p"\nendpoint_url = "{seaweed.endpoint_url}"\nregion = "us-east-1"\n'
        'addressing_style = "path"'
    )
    machine.write_config(QUIET, store=store)
    keys = {"AWS_ACCESS_KEY_ID": seaweed.access_key, "AWS_SECRET_ACCESS_KEY": seaweed.secret_key}
    source = Content(5)
    shards = {
        f"big/model-{number}.safetensors": safetensors_bytes({"x": source.randbytes(CHUNKS_A_SHARD * CHUNK_BYTES)})
        for number in range(SHARDS)
    }
    hf_snapshot(machine.cache, {**pipeline_files(), **shards})
    before = listing(machine.cache)
    machine.run("backup", **keys)
    shutil.rmtree(machine.cache)
    with Daemon(machine, **keys) as daemon:
        while written_bytes(daemon) < BEFORE_BYTES:
            time.sleep(0.002)
        began_s = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.ended() == 0
        elapsed_s = time.monotonic() - began_s
    assert "job stopped on request" in daemon.said(), "it was over before the signal came"
    assert elapsed_s < MOST_S
    with Daemon(machine, **keys) as daemon:
        daemon.wait_for("job finished")
    assert listing(machine.cache) == before
    (report,) = [
        json.loads(path.read_text()) for path in (machine.cache / ".zimage-syncd/reports").glob("*-cycle.json")
    ]
    fetched = sum(source["read_bytes"] for result in report["snapshots"] for source in result["sources"])
    assert 0 < fetched < SHARDS * CHUNKS_A_SHARD * CHUNK_BYTES
    print(f"ended after {elapsed_s:.2f} s; the next one fetched {fetched / 1e6:.0f} MB")

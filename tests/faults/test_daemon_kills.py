"""kill -9 of the daemon at random moments, while links are lost and downloads come: the next start is clean."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.private import PARTIAL_PREFIX

FEW, MANY = 4, 50


def start(machine: Machine) -> subprocess.Popen[bytes]:
    environment = {**machine.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    with (machine.root / "daemon.log").open("ab") as log:
        return subprocess.Popen(machine.command("run"), stdout=log, stderr=log, env=environment)


def kill_at_random_moments(machine: Machine, kills: int) -> None:
    dice = random.Random(os.environ.get("ZIMAGE_SYNCD_KILL_SEED", "17"))
    machine.write_config('log = "json"\n[health]\nafter = []\n[backup]\nto = ["bucket"]\nsettle_s = 0\n')
    machine.fill()
    machine.run("backup")
    before = listing(machine.cache / "hub")
    ended = threading.Event()

    def trouble() -> None:
        """Somebody loses links and parts of the cache, as long as the daemon is killed."""
        mine = random.Random(5)
        while not ended.wait(mine.uniform(0.01, 0.2)):
            with contextlib.suppress(OSError):
                if mine.random() < 0.5:
                    machine.link.unlink()
                elif mine.random() < 0.5:
                    shutil.rmtree(machine.link.parent)
                else:
                    shutil.rmtree(machine.cache / "hub/models--org--name/snapshots")

    thread = threading.Thread(target=trouble)
    thread.start()
    moments = []
    try:
        for _ in range(kills):
            process = start(machine)
            moments.append(dice.uniform(0.1, 4))
            time.sleep(moments[-1])
            assert process.poll() is None, f"it ended by itself: killed after {moments}"
            process.send_signal(signal.SIGKILL)
            process.wait()
    finally:
        ended.set()
        thread.join()
    hf_snapshot(machine.cache, {**pipeline_files(), "new.json": b"{}"}, repo="org/second")
    process = start(machine)
    try:
        for _ in range(3000):
            seconds = [place for place in (machine.bucket / "refs").rglob("*.json") if "second" in str(place)]
            if machine.link.is_symlink() and seconds and listing(machine.cache / "hub/models--org--name"):
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    told = f"killed after {moments}: {(machine.root / 'daemon.log').read_text()[-3000:]}"
    assert seconds, told
    assert machine.link.resolve() == machine.cache, told
    after = listing(machine.cache / "hub")
    assert {path: entry for path, entry in after.items() if "second" not in path} == before, told
    left = [place for top in ("system", "data") for place in (machine.root / top).rglob(f"{PARTIAL_PREFIX}*")]
    assert left == [], told
    machine.run("verify", "--deep")


def test_a_daemon_killed_at_random_moments_starts_clean(machine: Machine) -> None:
    kill_at_random_moments(machine, FEW)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_daemon_killed_at_many_moments_starts_clean(machine: Machine) -> None:
    kill_at_random_moments(machine, MANY)

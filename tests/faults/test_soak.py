"""The daemon for a long time: links lost and made again, configurations read anew, verifications; nothing may grow."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot
from tests.support.daemon import Daemon
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files

_MOST_GROWTH_KIB = 2048
_PATIENCE_S = 20


@dataclass(frozen=True)
class Figures:
    """Of a process, from /proc."""

    resident_kib: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, process: int) -> Figures:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        return cls(int(fields["VmRSS"].split()[0]), int(fields["Threads"]), len(os.listdir(f"/proc/{process}/fd")))


def wait_until(so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + _PATIENCE_S
    while not so():
        assert time.monotonic() < end_s
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("warm_up", "cycles"), [(20, 40), pytest.param(1000, 10_000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)
def test_nothing_grows(machine: Machine, warm_up: int, cycles: int) -> None:
    """Each cycle loses the link; every tenth reads the configuration anew, which looks at the disks and verifies."""
    machine.write_config('log = "json"\n[health]\nafter = []\n[verify]\nquick = "* * * * *"\njitter_s = 0\n')
    hf_snapshot(machine.cache, pipeline_files())
    machine.run("backup")
    with Daemon(machine) as daemon:
        wait_until(machine.link.is_symlink)

        def live(count: int) -> None:
            for number in range(count):
                machine.link.unlink()
                if number % 10 == 0:
                    daemon.process.send_signal(signal.SIGHUP)
                wait_until(machine.link.is_symlink)

        live(warm_up)
        time.sleep(2)
        before = Figures.of(daemon.process.pid)
        live(cycles)
        time.sleep(2)
        after = Figures.of(daemon.process.pid)
        assert daemon.process.poll() is None
    print(f"{cycles} cycles: {before} -> {after}")
    assert after.threads <= before.threads
    assert after.descriptors <= before.descriptors
    assert after.resident_kib - before.resident_kib <= _MOST_GROWTH_KIB
    assert daemon.ended() == 0

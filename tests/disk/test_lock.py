"""The cache's lock: one at a time, named, and gone with its process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zimage_syncd.disk.lock import cache_lock, lock_holder
from zimage_syncd.model.failures import CacheBusy

HOLD = """
import sys, time
from zimage_syncd.disk.lock import cache_lock
with cache_lock(sys.argv[1], "restore"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with cache_lock(str(tmp_path), "backup"):
        with pytest.raises(CacheBusy, match=rf"process {os.getpid()} .*backup"), cache_lock(str(tmp_path), "verify"):
            pass
        assert "backup" in (lock_holder(str(tmp_path)) or "")
    assert lock_holder(str(tmp_path)) is None


def test_who_only_looks_makes_no_job_busy(tmp_path: Path) -> None:
    with cache_lock(str(tmp_path), "first"):
        pass
    looking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as `lock_holder` does, here for longer
    leaving = threading.Timer(0.2, os.close, [looking])
    leaving.start()
    with cache_lock(str(tmp_path), "second"):
        assert "second" in (lock_holder(str(tmp_path)) or "")
    leaving.join()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(CacheBusy, match=f"process {process.pid}"), cache_lock(str(tmp_path), "verify"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with cache_lock(str(tmp_path), "verify"):
        pass

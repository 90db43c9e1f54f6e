"""The cache's lock: one at a time, named, and gone with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zimage_syncd.disk.document import update_document
from zimage_syncd.disk.lock import cache_lock, directory_lock, lock_holder
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


def test_where_a_lease_keeps_hosts_apart_the_file_systems_lock_is_not_asked(tmp_path: Path) -> None:
    """One host's process stands still, and its lock with it; another host has taken the lease over."""
    with cache_lock(str(tmp_path), "backup", "host-1"):
        with pytest.raises(CacheBusy, match="backup"), cache_lock(str(tmp_path), "verify", "host-1"):
            pass
        with cache_lock(str(tmp_path), "verify", "host-2"), cache_lock(str(tmp_path), "on the file"):
            assert lock_holder(str(tmp_path), "host-1") is not None
        assert lock_holder(str(tmp_path), "host-3") is None
    assert lock_holder(str(tmp_path), "host-1") is None


def test_where_the_file_system_knows_no_locks_a_name_keeps_two_jobs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lustre answers without `-o flock`, which no file system of this machine does."""

    def no_locks(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for _ in range(2):
        with cache_lock(str(tmp_path), "backup"):
            with pytest.raises(CacheBusy, match="backup"), cache_lock(str(tmp_path), "verify"):
                pass
            assert "backup" in (lock_holder(str(tmp_path)) or "")
        assert lock_holder(str(tmp_path)) is None
    with directory_lock(str(tmp_path)), pytest.raises(CacheBusy), directory_lock(str(tmp_path)):
        pass
    update_document(str(tmp_path / "document.json"), lambda _: b"{}")
    assert (tmp_path / "document.json").read_bytes() == b"{}"

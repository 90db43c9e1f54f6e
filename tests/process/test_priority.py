"""Low priority is a thread's own: the threads that verify have it, the process keeps its own."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot
from tests.support.site import Bench, QuietMonitor, StopAfter
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.config import load_config
from zimage_syncd.model.selection import Selection
from zimage_syncd.process.priority import yield_to_others
from zimage_syncd.services import CacheServices
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.verify import verify
from zimage_syncd.work.verify_store import verify_store

ALL = Selection()
_IOPRIO_GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31}


def in_thread(act: Callable[[], None]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def niceness(thread: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread or threading.get_native_id())


def io_class() -> int:
    number = _IOPRIO_GET.get(platform.machine())
    if number is None:
        pytest.skip(f"the system call's number on {platform.machine()} is not known")
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(number), 1, threading.get_native_id())) >> 13


def test_a_thread_gets_nice_10_and_the_idle_class_and_its_process_does_not() -> None:
    before, class_before = niceness(), io_class()
    seen: list[tuple[int, int]] = []

    def act() -> None:
        yield_to_others()
        seen.append((niceness(), io_class()))

    in_thread(act)
    assert seen == [(max(10, before), 3)]
    assert (niceness(), io_class()) == (before, class_before)


def test_a_thread_that_is_nicer_already_stays_so() -> None:
    seen: list[int] = []

    def act() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        yield_to_others()
        seen.append(niceness())

    in_thread(act)
    assert seen == [15]


def test_every_thread_that_verifies_begins_with_it(bench: Bench, content: random.Random) -> None:
    place = bench.directory / "bucket"
    place.mkdir()
    archive = ObjectArchive("bucket", DirectoryStore(str(place), "o"), bench.clock, "o", bench.site().owns, "host")
    hf_snapshot(bench.root, {**pipeline_files(), "big/x.bin": content.randbytes(100_000)})
    began: set[int] = set()
    site = dataclasses.replace(bench.site(), begin_thread=lambda: began.add(threading.get_native_id()))

    def begins(act: Callable[[], object]) -> bool:
        began.clear()
        act()
        return bool(began) and threading.get_native_id() not in began

    assert begins(lambda: verify(site, [], ALL, deep=True, repair=False))  # nobody recorded it yet
    backup(site, [archive], ALL, accept_changed=False)
    assert begins(lambda: verify(site, [], ALL, deep=True, repair=False))
    sizes = {blob.sha256: blob.size_bytes for blob in archive.blobs()}
    assert begins(lambda: verify_store(site, archive, ALL, blob_sizes=sizes, deep=True))


class Watching(QuietMonitor):
    """A monitor that notes the niceness of whoever tells it of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.niceness: set[int] = set()

    def advance(self, count_bytes: int) -> None:
        super().advance(count_bytes)
        self.niceness.add(niceness())


@pytest.mark.parametrize("yielding", [True, False])
def test_a_check_that_the_schedule_starts_is_nice_and_a_typed_one_is_not(tmp_path: Path, *, yielding: bool) -> None:
    hf_snapshot(tmp_path / "cache", pipeline_files())
    place = tmp_path / "zimage.toml"
    place.write_text(f'[cache]\ndir = "{tmp_path}/cache"\n[daemon]\nstate_dir = "{tmp_path}/state"\n')
    monitor = Watching()
    services = CacheServices(load_config(str(place), {}, str(tmp_path), str(tmp_path)), monitor, StopAfter())
    services.verify(ALL, deep=True, repair=False, yielding=yielding)
    assert monitor.niceness == {max(10, niceness()) if yielding else niceness()}

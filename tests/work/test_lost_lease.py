"""A job that stood still while another host took the data disk publishes nothing when it goes on."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.lease_memory import MemoryFiles, Neighbours, tenant
from tests.support.site import Bench, QuietMonitor, entry_of
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.disk.lease import DirectoryLease
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.write import CacheDisk
from zimage_syncd.model.failures import DataDiskTaken
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource
from zimage_syncd.work.site import Site

ALL = Selection()
EXPIRY_S = 180.0


class Paused(QuietMonitor):
    """Lets something happen at the first byte."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens: Callable[[], None] | None = happens

    def advance(self, count_bytes: int) -> None:
        super().advance(count_bytes)
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()


@dataclass
class TwoHosts:
    """One disk, one lease, the sites of two hosts."""

    bench: Bench

    def __post_init__(self) -> None:
        shared: dict[str, bytes] = {}
        kin = Neighbours().kin
        clock = self.bench.clock
        self.first = DirectoryLease("/d", MemoryFiles(shared), lambda: tenant("a", 1), clock, EXPIRY_S, kin)
        self.second = DirectoryLease("/d", MemoryFiles(shared), lambda: tenant("b", 1), clock, EXPIRY_S, kin)
        self.first.take("job")

    def take_over(self) -> None:
        """The first one stands still, and the second one watches it."""
        self.second.rival()
        self.bench.clock.move(EXPIRY_S)
        self.second.take("job")

    def disk(self, lease: DirectoryLease) -> CacheDisk:
        bench = self.bench
        return CacheDisk(str(bench.root), Quarantine(str(bench.state / "quarantine"), bench.clock.now), lease=lease)

    def site(self, lease: DirectoryLease, *, pauses: bool = False) -> Site:
        monitor = Paused(self.take_over) if pauses else QuietMonitor()
        return replace(self.bench.site(), disk=self.disk(lease), lease=lease, monitor=monitor)


@pytest.fixture
def hosts(bench: Bench) -> TwoHosts:
    return TwoHosts(bench)


@pytest.fixture
def files(content: random.Random) -> dict[str, bytes]:
    return {**pipeline_files(), "big/model.safetensors": safetensors_bytes({"x": content.randbytes(2 * CHUNK_BYTES)})}


def test_a_backup_writes_no_reference(
    bench: Bench, archive: ObjectArchive, hosts: TwoHosts, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    with pytest.raises(DataDiskTaken, match="on b"):
        backup(hosts.site(hosts.first, pauses=True), [archive], ALL, accept_changed=False)
    bucket = bench.directory / "bucket"
    assert list((bucket / "refs").rglob("*.json")) == []
    assert list((bucket / "manifests").rglob("*.json")) == []
    report = backup(hosts.site(hosts.second), [archive], ALL, accept_changed=False)
    assert [result.action for result in report.snapshots] == ["backed up"]


def test_a_restore_gives_no_file_its_name_and_makes_no_pointer(
    bench: Bench, archive: ObjectArchive, hosts: TwoHosts, files: dict[str, bytes]
) -> None:
    hf_snapshot(bench.root, files)
    before = listing(bench.root)
    backup(hosts.site(hosts.first), [archive], ALL, accept_changed=False)
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    sources = [RestoreSource(archive, LinkMode.COPY)]
    with pytest.raises(DataDiskTaken, match="on b"):
        restore(hosts.site(hosts.first, pauses=True), sources, ALL)
    assert [name for name in listing(bench.root) if not name.endswith(".partial")] == []
    assert bench.partials(), "what it had begun"
    report = restore(hosts.site(hosts.second), sources, ALL)
    assert report.exit_code == 0
    assert listing(bench.root) == before
    assert bench.partials() == [], "what the first one left is swept"


def test_a_taker_writes_partial_files_that_the_one_before_does_not_know(
    bench: Bench, hosts: TwoHosts, content: random.Random
) -> None:
    """The one before was suspended in the middle of a write: no look at any lease comes between it and the disk."""
    data = content.randbytes(CHUNK_BYTES)
    entry = entry_of("hub/models--a--b/blobs/x", data)
    suspended = hosts.disk(hosts.first).begin_file(entry.path, entry.size_bytes)
    suspended.write(0, memoryview(data)[: CHUNK_BYTES // 2])
    hosts.take_over()
    disk = hosts.disk(hosts.second)
    assert disk.partial_bytes(entry.path) == 0
    taken = disk.begin_file(entry.path, entry.size_bytes)
    taken.write(0, memoryview(data))
    suspended.write(0, memoryview(b"\x00" * CHUNK_BYTES))
    suspended.finish(0o644)  # the worst: between its look and its rename it was suspended, too
    assert taken.missing_chunks(entry, lambda: None) == []
    disk.finish_file(taken, 0o644, keep_old=False)
    assert (bench.root / entry.path).read_bytes() == data
    assert bench.partials() == []


def test_what_a_host_left_that_let_go_is_gone_on_with(bench: Bench, hosts: TwoHosts, content: random.Random) -> None:
    data = content.randbytes(CHUNK_BYTES)
    entry = entry_of("hub/models--a--b/blobs/x", data)
    begun = hosts.disk(hosts.first).begin_file(entry.path, entry.size_bytes)
    begun.write(0, memoryview(data))
    begun.close()
    hosts.first.release()
    hosts.second.take("job")
    assert hosts.disk(hosts.second).missing_chunks(entry, lambda: None) == []

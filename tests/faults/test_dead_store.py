"""A store whose server is gone half-way: told once for all files that it kept back, by what people call them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, modelscope_snapshot
from tests.support.faulty_proxy import faulty_proxy
from tests.support.s3_server import S3Server
from tests.support.site import Bench, QuietMonitor
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model import problems
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Finding, Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.stores.s3 import S3Store
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource
from zimage_syncd.work.verify import verify

ALL = Selection()
FIRST = "model_index.json, transformer/diffusion_pytorch_model.safetensors.index.json, vae/config.json"
SNAPSHOT = "org/name@0123456789ab (huggingface)"


class When(QuietMonitor):
    """Does something as a task whose name begins so begins."""

    def __init__(self, task: tuple[str, ...] | str, act: Callable[[], object]) -> None:
        super().__init__()
        self._task = task
        self._act = act

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        super().begin(task, total_bytes, restores=restores)
        if task.startswith(self._task):
            self._act()


@pytest.fixture
def archive(bench: Bench, seaweed: S3Server) -> Iterator[ObjectArchive]:
    """A backup on a server that is gone as the payload's turn comes: nobody listens there any more."""
    with ExitStack() as stack:
        door = stack.enter_context(faulty_proxy(seaweed.endpoint_url))

        def shut() -> None:
            door.upstream = "http://127.0.0.1:9"  # connections that are open
            stack.close()

        settings = seaweed.settings(seaweed.make_bucket(), "p", endpoint_url=door.url, max_attempts=1)
        archive = archive_on(bench, S3Store(settings, sleep=lambda _s: None))
        hf_snapshot(bench.root, pipeline_files())
        assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
        bench.monitor = When(("restore ", "mend "), shut)
        yield archive


def archive_on(bench: Bench, store: S3Store | DirectoryStore, name: str = "bucket") -> ObjectArchive:
    return ObjectArchive(name, store, bench.clock, "owner-1", bench.site().owns, "test-host")


def wipe(bench: Bench) -> None:
    """Takes every payload file."""
    for place in [*bench.root.rglob("blobs/*"), *(bench.root / "models").rglob("*")]:
        if place.is_file():
            place.unlink()


def only_finding(report: Report) -> Finding:
    assert report.exit_code == 2
    assert [result.action for result in report.snapshots] == ["failed"]
    (finding,) = report.findings
    return finding


def test_a_restore_tells_a_server_that_is_gone_once(bench: Bench, archive: ObjectArchive) -> None:
    shutil.rmtree(bench.root)
    bench.root.mkdir()
    finding = only_finding(restore(bench.site(), [RestoreSource(archive, LinkMode.COPY)], ALL))
    assert (finding.problem, finding.subject) == (problems.STORE_UNREACHABLE, "bucket")
    cause, told = finding.detail.split("; ")
    assert cause.count("/blobs/") == 1  # refused or cut off
    assert told == f"{FIRST} (and 10 more) of {SNAPSHOT} were not brought back"
    assert not any(place.name[0] != "." for place in bench.root.rglob("blobs/*"))


def test_a_repair_tells_a_server_that_is_gone_once(bench: Bench, archive: ObjectArchive) -> None:
    wipe(bench)
    finding = only_finding(verify(bench.site(), [archive], ALL, deep=True, repair=True))
    assert (finding.problem, finding.subject) == (problems.UNREPAIRED, f"{FIRST} (and 10 more) of {SNAPSHOT}")
    what, cause = finding.detail.split("; ")
    assert what == "a file is missing (13)"
    assert cause.startswith("the store cannot be reached: bucket: ")


def test_a_file_that_waits_alone_is_told_by_its_path_and_chunks(bench: Bench, archive: ObjectArchive) -> None:
    place = max(bench.root.rglob("blobs/*"), key=lambda place: place.stat().st_size)
    place.write_bytes(bytes(place.stat().st_size))
    finding = only_finding(verify(bench.site(), [archive], ALL, deep=True, repair=True))
    assert (finding.problem, finding.chunks) == (problems.UNREPAIRED, (0,))
    assert finding.subject.startswith(str(place.relative_to(bench.root)))
    assert finding.detail.startswith("chunk 1 of 1 is damaged; the store cannot be reached: bucket: ")


def test_a_store_s_directory_that_vanishes_is_told_as_such_where_another_store_helps_out(
    bench: Bench, tmp_path: Path
) -> None:
    places = [tmp_path / "bucket", tmp_path / "second"]
    for place in places:
        place.mkdir()
    archives = [archive_on(bench, DirectoryStore(str(place), "owner-1"), place.name) for place in places]
    modelscope_snapshot(bench.root, pipeline_files())
    assert backup(bench.site(), archives, ALL, accept_changed=False).exit_code == 0
    wipe(bench)
    bench.monitor = When("mend ", lambda: shutil.rmtree(places[0]))
    report = verify(bench.site(), archives, ALL, deep=True, repair=True)
    assert [result.action for result in report.snapshots] == ["mended"]
    (finding,) = [finding for finding in report.findings if not finding.mended]
    assert (finding.problem, finding.subject) == (problems.STORE_MISSING, "bucket")
    assert finding.detail.startswith(f"{places[0]}: there is no such directory")

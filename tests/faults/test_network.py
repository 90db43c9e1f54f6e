"""Restores through a network that misbehaves on demand: every byte is right, or the error says which source it was."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.clock import HeldClock
from tests.support.content import Content
from tests.support.faulty_proxy import (
    Answer,
    Drip,
    Fault,
    FaultyProxy,
    Flip,
    IgnoreRange,
    Replace,
    Reset,
    Stall,
    Truncate,
    faulty_proxy,
)
from tests.support.rclone_s3 import rclone_s3
from tests.support.s3_server import S3Server
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.clock import SystemClock
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.s3 import S3Store
from zimage_syncd.stores.s3_read import MAX_BREAKS
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource

ALL = Selection()
EVERY = 100_000
"""More answers than a restore asks for."""

ATTEMPTS = 2
"""Of botocore, for one request."""


@dataclass
class Origin:
    """A server with a backup, and what that holds."""

    server: S3Server
    bucket: str
    whole: dict[str, tuple[object, ...]]

    def object(self, path: str) -> bytes:
        """An object by the path of a request."""
        key = unquote(path).split("?")[0].removeprefix(f"/{self.bucket}/")
        return bytes(self.server.client().get_object(Bucket=self.bucket, Key=key)["Body"].read())

    @property
    def payload_bytes(self) -> int:
        return sum(
            len(entry[2])
            for path, entry in self.whole.items()
            if "/blobs/" in path and isinstance(entry[-1], bytes)  # no pointers
            for entry in [entry]
        )


def origin_on(server: S3Server, directory: Path) -> Origin:
    source = Content(3)
    files = {
        **pipeline_files(),
        "big/model.safetensors": safetensors_bytes({"x": source.randbytes(2 * CHUNK_BYTES + 999)}),
        "second/model.safetensors": safetensors_bytes({"y": source.randbytes(CHUNK_BYTES + 5)}),
    }
    bench = Bench(directory, HeldClock())
    hf_snapshot(bench.root, files)
    bucket = server.make_bucket()
    archive = archive_of(bench, "bucket", S3Store(server.settings(bucket, "p")))
    assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
    return Origin(server, bucket, listing(bench.root))


def archive_of(bench: Bench, name: str, store: S3Store) -> ObjectArchive:
    return ObjectArchive(name, store, bench.clock, "owner-1", bench.site().owns, "test-host")


@pytest.fixture(scope="module")
def origin(seaweed: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Origin:
    return origin_on(seaweed, tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def odd_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    """On `rclone serve s3`."""
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield origin_on(server, tmp_path_factory.mktemp("origin"))


@dataclass
class World:
    """A cache that is to be restored, through a proxy."""

    bench: Bench
    origin: Origin
    proxy: FaultyProxy
    pauses: list[float] = field(default_factory=list)

    def near(self) -> RestoreSource:
        """The store behind the proxy."""
        return self._source("near", self.proxy.url)

    def far(self) -> RestoreSource:
        """The same one, reached directly."""
        return self._source("far", self.origin.server.endpoint_url)

    def _source(self, name: str, url: str) -> RestoreSource:
        settings = self.origin.server.settings(
            self.origin.bucket, "p", endpoint_url=url, read_timeout_s=1, max_attempts=ATTEMPTS
        )
        return RestoreSource(archive_of(self.bench, name, S3Store(settings, sleep=self.pauses.append)), LinkMode.COPY)

    def spoil(self, fault: Fault, times: int) -> None:
        """Spoils answers that hold payload."""
        if isinstance(fault, IgnoreRange):
            fault = IgnoreRange(self.origin.object)
        self.proxy.spoil("GET", fault, times=times, within="/blobs/")

    def restore(self, *sources: RestoreSource) -> Report:
        return restore(self.bench.site(), sources, ALL)

    def requests(self) -> int:
        """How often payload was asked for through the proxy."""
        return sum("/blobs/" in path for method, path, _ in self.proxy.seen if method == "GET")

    def assert_whole(self) -> None:
        assert listing(self.bench.root) == self.origin.whole
        assert self.bench.partials() == []

    def assert_nothing_false(self) -> None:
        """What has a final name has the right content, and nothing refers to what is missing."""
        found = listing(self.bench.root)
        final = {path: entry for path, entry in found.items() if ".zimage-syncd-" not in path}
        assert final.items() <= self.origin.whole.items()
        assert not any("/refs/" in path for path in final)


@pytest.fixture
def make_world(bench: Bench) -> Iterator[Callable[[Origin], World]]:
    with faulty_proxy("") as proxy:

        def make(origin: Origin) -> World:
            proxy.upstream = origin.server.endpoint_url
            bench.clock = SystemClock()  # type: ignore[assignment]
            return World(bench, origin, proxy)

        yield make


@pytest.fixture
def world(make_world: Callable[[Origin], World], origin: Origin) -> World:
    return make_world(origin)


def used(report: Report) -> dict[str, int]:
    return {use.source: use.read_bytes for result in report.snapshots for use in result.sources}


SLOW_DOWN = Answer(503, "SlowDown")
PASSING = {
    "reset": Reset(300_000),
    "reset at once": Reset(0),
    "truncated": Truncate(300_000),
    "stall": Stall(300_000, 30),
    "stall at once": Stall(0, 30),
    "slow down": SLOW_DOWN,
    "slow down, with a time": Answer(503, "SlowDown", retry_after_s=1),
    "internal error": Answer(500, "InternalError"),
    "whole object": IgnoreRange(b""),
    "drip": Drip(65_536, 0.001),
}
"""Trouble that a later answer makes good: nothing was served wrong."""

WRONG: dict[str, tuple[Fault, problems.Problem]] = {
    "flipped bit": (Flip(5_000), problems.CHUNK_CORRUPT),
    "another range": (Replace({"content-range": "bytes 5-99/1000000"}), problems.STORE_BROKEN),
    "no range": (Replace({"content-range": "bytes */x"}), problems.STORE_BROKEN),
}
"""Wrong answers, which are told even where another one was right."""

LASTING: dict[str, tuple[Fault, problems.Problem]] = {
    **WRONG,
    "reset": (Reset(1000), problems.STORE_UNREACHABLE),
    "truncated": (Truncate(1000), problems.STORE_UNREACHABLE),
    "slow down": (SLOW_DOWN, problems.STORE_UNREACHABLE),
    "stall": (Stall(1000, 30), problems.STORE_UNREACHABLE),
    "denied": (Answer(403, "AccessDenied"), problems.STORE_DENIED),
}


@pytest.mark.parametrize("name", PASSING)
def test_trouble_that_passes_is_not_noticed_in_the_result(world: World, name: str) -> None:
    world.spoil(PASSING[name], times=3)
    report = world.restore(world.near())
    world.assert_whole()
    assert report.findings == ()
    assert used(report) == {"near": world.origin.payload_bytes}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_asked_for_again_and_told(world: World, name: str) -> None:
    fault, problem = WRONG[name]
    world.spoil(fault, times=1)
    report = world.restore(world.near())
    world.assert_whole()
    assert [finding.problem for finding in report.findings] == [problem]
    assert "near" in f"{report.findings[0].subject} {report.findings[0].detail}"
    assert report.exit_code == 2
    assert used(report) == {"near": world.origin.payload_bytes}


@pytest.mark.parametrize("name", LASTING)
def test_a_second_source_gives_what_a_bad_one_cannot(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # botocore waits between its own attempts, as the store does, whose pauses are only noted.
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=world.pauses.append))
    fault, problem = LASTING[name]
    world.spoil(fault, times=EVERY)
    report = world.restore(world.near(), world.far())
    world.assert_whole()
    assert sum(used(report).values()) == world.origin.payload_bytes
    assert used(report)["far"] >= world.origin.payload_bytes - 100_000  # less than what is cut off after gets through
    assert problem in {finding.problem for finding in report.findings}
    assert all("near" in f"{finding.subject} {finding.detail}" for finding in report.findings)
    assert report.exit_code == 2


# A source that stalls is waited for each time: that it ends is seen where a second one helps, too.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in {"stall", "slow down"} else name for name in LASTING]
)
def test_a_bad_source_alone_is_asked_a_bounded_number_of_times_and_leaves_nothing_false(
    world: World, name: str
) -> None:
    fault, problem = LASTING[name]
    world.spoil(fault, times=EVERY)
    report = world.restore(world.near())
    world.assert_nothing_false()
    assert report.exit_code == 2
    assert [result.action for result in report.snapshots] == ["failed"]
    assert problem in {finding.problem for finding in report.findings}
    # At most: each worker's read, three times in a row, each broken so often and repeated by botocore.
    files = len(pipeline_files()) + 2
    assert world.requests() <= (files + 8) * 3 * (1 + MAX_BREAKS) * ATTEMPTS
    if problem is problems.STORE_UNREACHABLE:
        assert world.requests() <= 8 * (1 + MAX_BREAKS) * ATTEMPTS
        assert len(set(world.pauses)) == len(world.pauses) > 0  # with jitter
    world.proxy.faults.clear()
    report = world.restore(world.near())
    assert report.exit_code == 0
    world.assert_whole()


def test_a_source_that_drips_is_late_and_the_other_one_is_asked(world: World) -> None:
    world.spoil(Drip(500, 0.1), times=EVERY)
    began_s = time.monotonic()
    report = world.restore(world.near(), world.far())
    assert time.monotonic() - began_s < 60  # alone it takes three hours
    world.assert_whole()
    assert any("late" in finding.detail and finding.subject == "near" for finding in report.findings)
    assert used(report)["far"] >= world.origin.payload_bytes - 100_000


def test_a_stop_while_a_source_drips_is_honoured_within_seconds(world: World) -> None:
    world.spoil(Drip(500, 0.1), times=EVERY)
    asked_s: list[float] = []

    class StopSoon:
        """Asks to stop after two seconds of payload."""

        def check(self) -> None:
            if world.requests() and not asked_s:
                asked_s.append(time.monotonic() + 2)
            if asked_s and time.monotonic() > asked_s[0]:
                raise Stopped("test")

    world.bench.cancel = StopSoon()  # type: ignore[assignment]
    with pytest.raises(Stopped):
        world.restore(world.near())
    assert time.monotonic() - asked_s[0] < 10
    world.assert_nothing_false()


def test_a_storm_that_passes_within_seconds_is_lived_through(world: World) -> None:
    world.spoil(SLOW_DOWN, times=30)
    report = world.restore(world.near())
    assert report.exit_code == 0
    world.assert_whole()


def test_a_server_that_ignores_ranges_gives_every_byte(
    make_world: Callable[[Origin], World], odd_origin: Origin
) -> None:
    world = make_world(odd_origin)
    report = world.restore(world.far())
    assert report.exit_code == 0
    world.assert_whole()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_faults_ends_with_the_right_bytes(world: World, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(dice.randrange(5, 60)):
        at = dice.randrange(20_000_000)
        world.spoil(
            dice.choice(
                [
                    Flip(at),
                    Reset(at),
                    Truncate(at),
                    Stall(at, 30),
                    SLOW_DOWN,
                    Answer(503, "SlowDown", retry_after_s=1),
                    Replace({"content-range": "bytes 7-9/10"}),
                    IgnoreRange(b""),
                    Drip(100_000, 0.01),
                ]
            ),
            times=1,
        )
    sources = [world.near(), world.far()] if dice.random() < 0.5 else [world.near()]
    report = world.restore(*sources)
    if any(result.action == "failed" for result in report.snapshots):
        world.assert_nothing_false()
        assert len(sources) == 1
        world.proxy.faults.clear()
        assert world.restore(*sources).exit_code == 0
    world.assert_whole()

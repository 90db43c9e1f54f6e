"""Processes that fetch beside a transfer: every byte is right, nothing is written after the end, nobody is left."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.faulty_proxy import Answer, Drip, FaultyProxy, Flip, Stall, Truncate, faulty_proxy, self_signed
from tests.support.s3_server import S3Server
from tests.support.site import Bench, BytesSource, StopAfter, entry_of
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.clock import SystemClock
from zimage_syncd.disk import partial
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Stopped
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.ports import Cancel, ChunkSource, NoPuller
from zimage_syncd.process import pull_messages, pullers
from zimage_syncd.process.pullers import ProcessPullers
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.archive_keys import blob_key
from zimage_syncd.stores.s3 import S3Store
from zimage_syncd.work.gathering import Gather, Gathered
from zimage_syncd.work.transfer import Transfer

SIZES = {"a": 4 * CHUNK_BYTES + 7, "b": 2 * CHUNK_BYTES, "c": 99}
EVERY = 100_000


def below(pid: int) -> list[int]:
    """Processes whose parent is `pid`, or one of theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = list(children.get(pid, []))
    for child in found:
        found.extend(children.get(child, []))
    return found


def fetching(pid: int) -> list[int]:
    """Those of them that fetch; the nursery, which forked the others, comes first."""
    return [child for child in below(pid) if _name_of(child) == "zimage-pull"]


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wait_for(is_so: Callable[[], bool], limit_s: float = 20) -> None:
    end_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@dataclass
class World:
    """A bucket with three blobs behind a proxy, and an empty cache."""

    bench: Bench
    proxy: FaultyProxy
    archive: ObjectArchive
    contents: dict[str, bytes]
    hands: set[int] = field(default_factory=set)
    """Processes that were seen to fetch."""

    @property
    def files(self) -> list[FileEntry]:
        return [entry_of(path, data) for path, data in self.contents.items()]

    def run(
        self,
        *others: ChunkSource,
        processes: int = 3,
        cancel: Cancel | None = None,
        workers: int = 3,
        are_awaited: bool = True,
    ) -> Gathered:
        """Restores; the processes are there before it begins, unless they are not awaited."""
        sources = (self.archive, *others)
        with ProcessPullers(processes).team(sources, 10**9) as team:
            for worker in range(team.size if are_awaited else 0):
                wait_for(lambda worker=worker: not isinstance(team.puller(worker, self.archive), NoPuller))
            transfer = Transfer(
                sources,
                SystemClock(),
                self.bench.monitor,
                cancel or _Watching(self),
                team=team,
                workers=workers,
                most=workers,
            )
            return transfer.run([self._gather(file) for file in self.files])

    def _gather(self, file: FileEntry) -> Gather:
        disk = self.bench.disk
        return Gather(
            file,
            lambda: disk.begin_file(file.path, file.size_bytes),
            lambda partial: partial.missing_chunks(file, lambda: None),
            lambda partial: disk.finish_file(partial, file.mode, keep_old=False),
        )

    def is_whole(self) -> bool:
        return {path: (self.bench.root / path).read_bytes() for path in self.contents} == self.contents


class _Watching:
    """Notes who fetches, and may do something to them; a `Cancel`."""

    def __init__(self, world: World, act: Callable[[list[int]], None] = lambda _: None) -> None:
        self._world = world
        self._act = act

    def check(self) -> None:
        found = fetching(os.getpid())
        self._world.hands.update(found[1:])
        if len(found) > 1:
            self._act(found)


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    source = random.Random(11)
    return {f"models/o--n/snapshots/master/{name}": source.randbytes(size) for name, size in SIZES.items()}


@pytest.fixture(scope="module")
def bucket(seaweed: S3Server, contents: dict[str, bytes]) -> str:
    name = seaweed.make_bucket()
    for path, data in contents.items():
        put(seaweed, name, entry_of(path, data), data)
    return name


def put(server: S3Server, bucket: str, file: FileEntry, data: bytes) -> None:
    server.client().put_object(Bucket=bucket, Key=f"p/{blob_key(file.sha256)}", Body=data)


def archive_at(server: S3Server, bucket: str, url: str, ca_bundle: str = "") -> ObjectArchive:
    settings = replace(server.settings(bucket, "p"), endpoint_url=url, ca_bundle=ca_bundle)
    return ObjectArchive("bucket", S3Store(settings), SystemClock(), "owner", lambda *_: True, "host")


@pytest.fixture
def world(bench: Bench, seaweed: S3Server, bucket: str, contents: dict[str, bytes]) -> Iterator[World]:
    with faulty_proxy(seaweed.endpoint_url) as proxy:
        yield World(bench, proxy, archive_at(seaweed, bucket, proxy.url), contents)
    assert fetching(os.getpid()) == []


def test_every_file_arrives_whole_by_way_of_other_processes(world: World) -> None:
    result = world.run()
    assert not result.failed
    assert world.is_whole()
    assert len(world.hands) >= 2
    assert result.read_bytes["bucket"] == world.bench.monitor.bytes == sum(SIZES.values())


def test_while_they_are_being_started_a_worker_takes_no_more_than_a_few_chunks(world: World) -> None:
    world.run(are_awaited=False)
    spans = [tuple(map(int, wanted.removeprefix("bytes=").split("-"))) for wanted in world.proxy.ranges() if wanted]
    assert max(end + 1 - start for start, end in spans[:2]) <= 4 * CHUNK_BYTES


def test_none_are_started_where_they_are_not_worth_it_or_not_wanted(world: World) -> None:
    world.run(processes=0)
    assert world.hands == set()
    with ProcessPullers(None).team((world.archive,), 10**8) as team:
        assert team.size == 0
    with ProcessPullers(3).team((BytesSource("near", {}), world.archive), 10**12) as team:
        assert team.size == 0


@pytest.mark.parametrize("processes", [0, 3])
def test_by_tls_every_file_arrives_whole(
    world: World, seaweed: S3Server, bucket: str, tmp_path: Path, processes: int
) -> None:
    certificate, key = self_signed(tmp_path)
    with faulty_proxy(seaweed.endpoint_url, (certificate, key)) as proxy:
        world.archive = archive_at(seaweed, bucket, proxy.url, str(certificate))
        proxy.spoil("GET", Truncate(2**20), times=2, within="blobs")
        result = world.run(processes=processes)
    assert not result.failed
    assert world.is_whole()
    assert len(world.hands) >= min(processes, 2)


@pytest.mark.parametrize(("cores", "gigabytes", "size"), [(7, 4, 0), (8, 3, 0), (8, 4, 8), (64, 33, 8)])
def test_many_cores_and_many_bytes_start_some(
    world: World, monkeypatch: pytest.MonkeyPatch, cores: int, gigabytes: int, size: int
) -> None:
    monkeypatch.setattr(pullers, "usable_cores", lambda: cores)
    with ProcessPullers(None).team((world.archive,), gigabytes * 10**9) as team:
        assert team.size == size


def test_one_that_is_killed_costs_only_what_it_had_not_finished(world: World) -> None:
    killed: list[int] = []

    def kill_one(found: list[int]) -> None:
        if not killed:
            killed.append(found[-1])
            os.kill(found[-1], signal.SIGKILL)

    world.proxy.spoil("GET", Drip(2**20, 0.02), times=EVERY, within="blobs")
    result = world.run(cancel=_Watching(world, kill_one))
    assert not result.failed
    assert world.is_whole()
    assert killed
    assert len(world.hands - set(killed)) >= 2


def test_a_nursery_that_is_killed_takes_the_others_along_and_the_transfer_goes_on(world: World) -> None:
    def kill_all(found: list[int]) -> None:
        os.kill(found[0], signal.SIGKILL)

    world.proxy.spoil("GET", Drip(2**20, 0.02), times=EVERY, within="blobs")
    result = world.run(cancel=_Watching(world, kill_all))
    assert not result.failed
    assert world.is_whole()


@pytest.mark.parametrize("fault", [Flip(3 * 2**20), Truncate(2**20), Answer(503, "SlowDown")], ids=str)
def test_what_a_store_serves_wrong_once_is_asked_for_again(world: World, fault: Flip | Truncate | Answer) -> None:
    world.proxy.spoil("GET", fault, times=2, within="blobs")
    result = world.run()
    assert not result.failed
    assert world.is_whole()
    assert world.hands


def test_a_store_that_refuses_all_of_them_once_is_asked_by_them_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three at once were three in a row: one busy moment of the store left a whole transfer to this process."""
    asked: list[pullers.Ask] = []
    encode = pullers.Ask.encode
    monkeypatch.setattr(pullers.Ask, "encode", lambda ask: asked.append(ask) or encode(ask))
    world.proxy.spoil("GET", Answer(503, "SlowDown"), times=3, within="blobs")
    result = world.run()
    assert not result.failed
    assert world.is_whole()
    assert len(asked) > 5


def test_a_chunk_that_is_damaged_in_the_store_comes_from_the_next_source_and_is_told(
    world: World, seaweed: S3Server, bucket: str
) -> None:
    file, data = world.files[0], world.contents[world.files[0].path]
    spoiled = bytearray(data)
    spoiled[3 * CHUNK_BYTES] ^= 1
    put(seaweed, bucket, file, bytes(spoiled))
    try:
        result = world.run(BytesSource("second", {file.sha256: world.contents[file.path] for file in world.files}))
    finally:
        put(seaweed, bucket, file, data)
    assert not result.failed
    assert world.is_whole()
    assert result.read_bytes["second"] >= CHUNK_BYTES
    assert [finding.problem for finding in result.findings] == [problems.CHUNK_CORRUPT]


@pytest.mark.long
def test_an_address_where_nobody_answers_any_more_is_told_as_without_them(world: World) -> None:
    def silence(_: list[int]) -> None:
        world.proxy.upstream = "http://127.0.0.1:1"

    result = world.run(cancel=_Watching(world, silence))
    assert {failure.problem for failure in result.failed.values()} == {problems.STORE_UNREACHABLE}
    assert result.failed


def test_a_wish_to_stop_is_followed_while_the_store_is_silent_and_nothing_is_written_afterwards(world: World) -> None:
    world.proxy.spoil("GET", Stall(3 * 2**20, 60), times=EVERY, within="blobs")
    stopped_s: list[float] = []

    def stop(_: list[int]) -> None:
        stopped_s.append(time.monotonic())
        raise Stopped("test")

    with pytest.raises(Stopped):
        world.run(cancel=_Watching(world, stop))
    assert time.monotonic() - stopped_s[0] < 3
    assert fetching(os.getpid()) == []
    partials = [path for path in world.bench.root.rglob("*") if path.is_file()]
    before = [(path, path.read_bytes()) for path in partials]
    time.sleep(0.5)
    assert [(path, path.read_bytes()) for path in partials] == before
    world.proxy.faults.clear()
    assert not world.run().failed
    assert world.is_whole()


def test_a_late_store_is_left_for_another_one_and_writes_nothing_over_it(world: World) -> None:
    """What one process was asked for comes from elsewhere: it must be gone before that is written."""
    world.proxy.spoil("GET", Stall(2**19, 60), within="blobs")
    result = world.run(BytesSource("second", {file.sha256: world.contents[file.path] for file in world.files}))
    assert not result.failed
    assert world.is_whole()
    assert result.read_bytes["second"] >= CHUNK_BYTES


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_told_as_without_them(world: World, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={3 * CHUNK_BYTES}", "small", str(small)], check=True)
    try:
        world.bench.disk = Bench(small, world.bench.clock).disk
        result = world.run()
        assert problems.DEVICE_FULL in {failure.problem for failure in result.failed.values()}
    finally:
        world.bench.disk = None  # type: ignore[assignment]
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_without_an_interpreter_to_start_everything_is_fetched_here(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for executable in ("", shutil.which("false")):
        monkeypatch.setattr(sys, "executable", executable)
        for path in world.contents:
            (world.bench.root / path).unlink(missing_ok=True)
        assert not world.run(are_awaited=False).failed
        assert world.is_whole()
        assert world.hands == set()


def test_a_transfer_that_is_killed_leaves_no_process(seaweed: S3Server, tmp_path: Path) -> None:
    cache, bucket = tmp_path / "cache", seaweed.make_bucket()
    # Of zeros one chunk would be fetched, before anybody is there.
    weights = random.Random(12).randbytes(6 * CHUNK_BYTES)
    hf_snapshot(cache, {**pipeline_files(), "a/model.safetensors": safetensors_bytes({"x": weights})})
    before = listing(cache)
    with faulty_proxy(seaweed.endpoint_url) as proxy:
        config = tmp_path / "config.toml"
        config.write_text(
            f'[cache]\ndir = "{cache}"\n[restore]\nprocesses = 2\n[stores.bucket]\nurl = "s3://{bucket}/p"\n'
            f'endpoint_url = "{proxy.url}"\nregion = "us-east-1"\n[daemon]\nstate_dir = "{tmp_path}/system"\n'
        )
        config.chmod(0o600)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ZIMAGE_SYNCD", "AWS_"))}
        keys = {"AWS_ACCESS_KEY_ID": seaweed.access_key, "AWS_SECRET_ACCESS_KEY": seaweed.secret_key}

        def start(job: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-m", "zimage_syncd", "--config", str(config), job],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**kept, **keys, "PYTHONPATH": str(Path(__file__).parents[2])},
            )

        assert start("backup").wait() == 0
        shutil.rmtree(cache)
        proxy.spoil("GET", Drip(2**20, 0.5), times=EVERY, within="blobs")
        restore = start("restore")
        wait_for(lambda: len(fetching(restore.pid)) == 3)
        processes = fetching(restore.pid)
        restore.kill()
        restore.wait()
        wait_for(lambda: all(_name_of(pid) != "zimage-pull" for pid in processes), 2)
        proxy.faults.clear()
        assert start("restore").wait() == 0
        assert listing(cache) == before


def test_secrets_are_in_no_process_list(world: World) -> None:
    secret = world.archive.recipe()
    assert secret is not None
    assert b"owner-secret" in secret

    def look(found: list[int]) -> None:
        for pid in found:
            said = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert b"owner-secret" not in said

    world.run(cancel=_Watching(world, look))
    assert world.hands


def let_go(pids: list[int]) -> None:
    """One that was held between its fork and its wish to end with the nursery finds itself alone, and ends."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_process_that_cannot_be_killed_ends_with_its_nursery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    def stop(found: list[int]) -> None:
        for pid in found[1:]:
            os.kill(pid, signal.SIGSTOP)
            held.append(pid)
        raise Stopped("test")

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    world.proxy.spoil("GET", Drip(2**20, 0.01), times=EVERY, within="blobs")
    with pytest.raises(Stopped):
        world.run(cancel=_Watching(world, stop))
    let_go(held)
    assert fetching(os.getpid()) == []


def test_a_nursery_that_hangs_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessPullers(3).team((world.archive,), 10**9) as team:
        assert team.puller(0, world.archive) is NoPuller.COMING
        monkeypatch.setattr(pullers, "_COMING_AT_MOST_S", 0.0)
        assert team.puller(1, world.archive) is NoPuller.NEVER


def test_a_process_that_hangs_is_ended_and_its_work_done_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pullers, "_SILENT_AT_MOST_S", 1.0)
    stopped: list[int] = []

    def hold_one(found: list[int]) -> None:
        if not stopped:
            stopped.append(found[-1])
            os.kill(found[-1], signal.SIGSTOP)

    result = world.run(cancel=_Watching(world, hold_one))
    assert not result.failed
    assert world.is_whole()
    let_go(stopped)
    assert stopped


def test_a_stop_before_anything_leaves_nobody(world: World) -> None:
    with pytest.raises(Stopped):
        world.run(cancel=StopAfter(0))
    assert fetching(os.getpid()) == []


def test_sockets_and_descriptors_are_closed(world: World) -> None:
    world.run()
    before = len(os.listdir("/proc/self/fd"))
    for path in world.contents:
        (world.bench.root / path).unlink()
    world.run()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_where_only_one_process_may_write_the_others_do_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """sshfs tells of a failed write at the first close of any descriptor: a process that fetched took that with it."""
    asked: list[object] = []
    monkeypatch.setattr(partial, "writes_at_close", lambda _: True)
    monkeypatch.setattr(pullers.Ask, "encode", lambda ask: asked.append(ask) or b"")
    result = world.run()
    assert not result.failed
    assert world.is_whole()
    assert not asked


def test_a_program_that_gives_credentials_reads_nothing_of_what_a_transfer_says(
    world: World, seaweed: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its standard input was the socket to the transfer: it took packets away, or waited for more until the end."""
    keys = {"Version": 1, "AccessKeyId": seaweed.access_key, "SecretAccessKey": seaweed.secret_key}
    program = tmp_path / "program"
    program.write_text(
        f"#!/bin/sh\ncat > /dev/null\necho $LD_LIBRARY_PATH >> {tmp_path}/seen\necho '{json.dumps(keys)}'\n"
    )
    program.chmod(0o700)
    interpreter = tmp_path / "python"  # as an installed copy has it
    interpreter.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH=/of/the/copy exec {sys.executable} "$@"\n')
    interpreter.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    settings = replace(seaweed.settings(bucket, "p"), access_key="", secret_key="", endpoint_url=world.proxy.url)
    world.archive = ObjectArchive("bucket", S3Store(settings), SystemClock(), "owner", lambda *_: True, "host")
    assert not world.run().failed
    assert world.is_whole()
    assert len(world.hands) >= 2
    assert (tmp_path / "seen").read_text().split() == []


def test_descriptors_that_come_along_are_not_given_to_other_programs() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        pull_messages.send(ours, b"x", ours.fileno())
        _, descriptor = pull_messages.receive(theirs)
        assert descriptor is not None
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_no_more_hands_are_asked_for_than_a_nursery_can_take(world: World) -> None:
    """Packets wait in a short queue while it is being started; a worker that finds it full does without."""
    with ProcessPullers(64).team((world.archive,), 10**9) as team:
        waiting = [team.puller(number, world.archive) for number in range(64)]
        assert set(waiting) == {NoPuller.COMING}
        wait_for(lambda: not any(isinstance(team.puller(number, world.archive), NoPuller) for number in range(64)))

"""Missing, denied, unreachable, full and read-only are different failures, and their messages say where."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bodies import PartBytes
from tests.support.processes import free_ports
from tests.support.s3_server import S3Server
from tests.support.sftp import PASSWORD, SftpServer
from zimage_syncd.model.failures import (
    DataDiskReadOnly,
    DeviceFull,
    Failure,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
    StoreUrlInvalid,
)
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.stores.fsspec_url import FsspecStore
from zimage_syncd.stores.object_store import ObjectStore
from zimage_syncd.stores.s3 import S3Store

ROOT = Path(__file__).parents[2]


def operations(store: ObjectStore) -> list[Callable[[], object]]:
    return [
        store.check,
        lambda: store.get("a", 10),
        lambda: list(store.read("a", 0, 1, memoryview(bytearray(1)))),
        lambda: store.put("a/b", b"x"),
        lambda: store.create("a/c", b"x"),
        lambda: list(store.scan("")),
        lambda: store.begin_upload("a/d", 10),
        lambda: store.open_uploads(""),
    ]


def assert_all_fail(store: ObjectStore, expected: type[Failure], *said: str, unsaid: str = "secret") -> None:
    for operation in operations(store):
        with pytest.raises(expected) as caught:
            operation()
        for word in said:
            assert word in str(caught.value)
        assert unsaid not in str(caught.value)


@pytest.mark.parametrize("server_name", ["seaweed", "rclone"])
def test_a_wrong_bucket_is_missing(request: pytest.FixtureRequest, server_name: str) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    assert_all_fail(S3Store(server.settings("no-such-bucket")), StoreMissing, "no-such-bucket", "NoSuchBucket")


@pytest.mark.parametrize("server_name", ["seaweed", "rclone"])
@pytest.mark.parametrize("keys", [{"secret_key": "wrong-secret-0987654321"}, {"access_key": "nobody-key"}])
def test_wrong_credentials_are_denied(request: pytest.FixtureRequest, server_name: str, keys: dict[str, str]) -> None:
    server: S3Server = request.getfixturevalue(server_name)
    bucket: str = request.getfixturevalue(f"{server_name}_bucket")
    store = S3Store(server.settings(bucket, **keys))
    assert_all_fail(store, StoreDenied, bucket, "403")
    with pytest.raises(StoreDenied):
        store.head("a")


def test_valid_credentials_that_may_do_nothing_here_are_denied(seaweed: S3Server, seaweed_bucket: str) -> None:
    settings = seaweed.settings(
        seaweed_bucket, access_key=seaweed.denied_access_key, secret_key=seaweed.denied_secret_key
    )
    assert_all_fail(S3Store(settings), StoreDenied, seaweed_bucket, "AccessDenied")


def test_a_closed_port_is_unreachable(seaweed: S3Server) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    store = S3Store(seaweed.settings("some-bucket", endpoint_url=url, max_attempts=1), sleep=lambda _seconds: None)
    assert_all_fail(store, StoreUnreachable, "some-bucket", url)
    with pytest.raises(StoreUnreachable):
        store.head("a")


def test_a_server_that_does_not_speak_is_unreachable(seaweed: S3Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = seaweed.settings("some-bucket", endpoint_url=url, max_attempts=1, read_timeout_s=0.2)
        store = S3Store(settings, sleep=lambda _seconds: None)
        with pytest.raises(StoreUnreachable, match="ReadTimeout"):
            store.check()


def test_a_directory_that_is_absent_is_missing_and_is_not_made(tmp_path: Path) -> None:
    root = tmp_path / "mnt" / "archive"
    store = DirectoryStore(str(root), "tester")
    assert_all_fail(store, StoreMissing, str(root), "mounted")
    for operation in (lambda: store.head("a"), lambda: store.delete("a"), store.make, store.now):
        with pytest.raises(StoreMissing):
            operation()
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_directory_belongs_is_missing(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("not a directory")
    with pytest.raises(StoreMissing, match="archive"):
        DirectoryStore(str(tmp_path / "archive"), "tester").check()


def test_a_directory_is_made_one_level_deep(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "archive"), "tester")
    store.make()
    store.make()
    store.check()
    with pytest.raises(StoreMissing):
        DirectoryStore(str(tmp_path / "a" / "b"), "tester").make()
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


AS_NOBODY = """
import os, sys
from zimage_syncd.model.failures import Failure
from zimage_syncd.stores.directory import DirectoryStore
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
store = DirectoryStore(sys.argv[1], "nobody")
for name, operation in {
    "check": store.check,
    "get": lambda: store.get("a/b", 10),
    "put": lambda: store.put("a/c", b""),
    "create": lambda: store.create("new/c", b""),
    "scan": lambda: list(store.scan("")),
    "begin": lambda: store.begin_upload("a/d", 10),
    "now": store.now,
}.items():
    try:
        operation()
        print(name, "good")
    except Failure as failure:
        print(name, type(failure).__name__)
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that another user can reach (pytest's own are private)."""
    path = Path("/var/tmp") / f"zimage-syncd-test-{uuid.uuid4().hex}"
    (path / "archive/a").mkdir(parents=True)
    (path / "archive/a/b").write_text("x")
    yield path / "archive"
    subprocess.run(["rm", "-rf", str(path)], check=True)


def said_to_nobody(root: Path) -> dict[str, str]:
    """What a user without rights is told: permission bits do not apply to root."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", AS_NOBODY, str(root)], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def test_a_directory_that_may_not_be_read_is_denied(open_directory: Path) -> None:
    open_directory.chmod(0o000)
    try:
        told = said_to_nobody(open_directory)
    finally:
        open_directory.chmod(0o755)
    now = told.pop("now")
    assert set(told.values()) == {"StoreDenied"}
    assert now == "good"


def test_a_directory_that_may_only_be_read_denies_writes_and_gives_the_rest(open_directory: Path) -> None:
    for path in (open_directory, open_directory / "a"):
        path.chmod(0o555)
    try:
        told = said_to_nobody(open_directory)
    finally:
        for path in (open_directory, open_directory / "a"):
            path.chmod(0o755)
    assert {name for name, answer in told.items() if answer == "StoreDenied"} == {"put", "create", "begin"}
    assert {name for name, answer in told.items() if answer == "good"} == {"check", "get", "scan", "now"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(where)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.mark.root
def test_a_full_disk_is_told_before_the_first_byte_and_leaves_nothing(small_disk: Path) -> None:
    store = DirectoryStore(str(small_disk / "archive"), "tester")
    store.make()
    with pytest.raises(DeviceFull, match="5000000 bytes"):
        store.begin_upload("a", 5_000_000)
    with pytest.raises(DeviceFull, match="archive"):
        store.put("b", bytes(5_000_000))
    assert list((small_disk / "archive").iterdir()) == []
    store.put("c", bytes(1_000_000))
    assert [info.key for info in store.scan("")] == ["c"]


@pytest.mark.root
def test_a_read_only_disk_is_told_and_can_be_read(small_disk: Path) -> None:
    store = DirectoryStore(str(small_disk), "tester")
    store.put("a", b"content")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for operation in (lambda: store.put("a", b"new"), lambda: store.begin_upload("b", 1), lambda: store.delete("a")):
        with pytest.raises(DataDiskReadOnly):
            operation()
    assert store.get("a", 10) == b"content"
    store.now()


def test_an_upload_into_a_directory_leaves_one_file_and_ordinary_permissions(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path), "tester")
    upload = store.begin_upload("blobs/ab/abc", 3)
    (hidden,) = (tmp_path / "blobs/ab").iterdir()
    assert hidden.name.startswith(".abc.")
    assert hidden.name.endswith(".tester.upload")
    assert hidden.stat().st_size == 3, "its space is reserved from the beginning"
    upload.put_part(1, PartBytes(b"abc"))
    upload.complete()
    assert [path.name for path in (tmp_path / "blobs/ab").iterdir()] == ["abc"]
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "blobs/ab/abc").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_a_killed_writer_left_is_listed_for_giving_up_and_is_no_object(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path), "tester")
    store.put("refs/1.json", b"x")
    left = tmp_path / "refs" / ".2.json.0123456789abcdef.tester.upload"
    left.write_bytes(b"half of")
    assert [info.key for info in store.scan("")] == ["refs/1.json"]
    (listed,) = store.open_uploads("refs/2")
    assert listed.key == "refs/2.json"
    store.abort_upload(listed)
    assert not left.exists()


@pytest.mark.timeout(30)
def test_a_pipe_is_no_object_and_nobody_waits_for_it(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path), "owner")
    os.mkfifo(tmp_path / "pipe")
    assert store.head("pipe") is None
    with pytest.raises(StoreBroken, match="regular file"):
        store.get("pipe", 10)
    with pytest.raises(StoreBroken, match="regular file"):
        list(store.read("pipe", 0, 1, memoryview(bytearray(10))))


def test_links_to_directories_are_not_walked_and_foreign_names_are_no_objects(tmp_path: Path) -> None:
    store = DirectoryStore(str(tmp_path / "archive"), "tester")
    store.make()
    store.put("a/b", b"")
    (tmp_path / "archive/loop").symlink_to(tmp_path)
    with open(os.fsencode(tmp_path / "archive" / "a") + b"/\xff", "wb"):
        assert [info.key for info in store.scan("")] == ["a/b"]


@pytest.mark.parametrize(
    ("others", "expected"),
    [({"password": "wrong"}, StoreDenied), ({"known_hosts": b""}, StoreDenied), ({"username": "eve"}, StoreDenied)],
)
def test_sftp_denies_a_wrong_password_user_and_host_key(
    sftp: SftpServer, others: dict[str, object], expected: type[Failure]
) -> None:
    store = FsspecStore(sftp.url("x"), sftp.options(**others))
    assert_all_fail(store, expected, f"127.0.0.1:{sftp.port}", unsaid=PASSWORD)


def test_sftp_does_not_trust_an_unknown_host_key_unasked(
    sftp: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    options = sftp.options()
    del options["known_hosts"]
    with pytest.raises(StoreDenied, match="HostKeyNotVerifiable"):
        FsspecStore(sftp.url("x"), options).check()


def test_sftp_on_a_closed_port_is_unreachable(sftp: SftpServer) -> None:
    port = free_ports(1)[0]
    store = FsspecStore(f"sftp://backup@127.0.0.1:{port}/x", sftp.options())
    assert_all_fail(store, StoreUnreachable, f"127.0.0.1:{port}", unsaid=PASSWORD)


def test_sftp_without_the_directory_is_missing_and_it_is_not_made(sftp: SftpServer) -> None:
    name = uuid.uuid4().hex
    store = FsspecStore(sftp.url(f"{name}/archive"), sftp.options())
    with pytest.raises(StoreMissing):
        store.make()
    for operation in (store.check, lambda: store.put("a/b", b""), lambda: list(store.scan(""))):
        with pytest.raises(StoreMissing, match=name):
            operation()
    assert not (sftp.directory / name).exists()


def test_sftp_takes_up_a_read_where_the_connection_broke(sftp: SftpServer) -> None:
    store = FsspecStore(sftp.url(uuid.uuid4().hex), sftp.options(), sleep=lambda _seconds: None)
    store.make()
    data = os.urandom(3_000_000)
    store.put("a", data)
    got = bytearray()
    dropped = 0
    for piece in store.read("a", 5, 2_999_990, memoryview(bytearray(500_000))):
        got += piece
        if len(got) in {1_000_000, 2_000_000}:
            dropped += sftp.drop_connections()
    assert bytes(got) == data[5:2_999_995]
    assert dropped >= 2, "connections of other stores may have been there, too"


def test_sftp_connects_again_after_the_server_dropped_it(sftp: SftpServer) -> None:
    store = FsspecStore(sftp.url(uuid.uuid4().hex), sftp.options())
    store.make()
    store.put("a", b"content")
    sftp.drop_connections()
    with pytest.raises(StoreUnreachable):
        store.get("a", 10)
    assert store.get("a", 10) == b"content"


@pytest.mark.parametrize("url", ["nosuch://x/y", "gs://bucket/x"])
def test_a_url_that_nothing_here_can_open_is_refused(url: str) -> None:
    with pytest.raises(StoreUrlInvalid, match=url.partition(":")[0]):
        FsspecStore(url, {})


def test_an_option_that_the_file_system_does_not_know_is_refused(sftp: SftpServer) -> None:
    with pytest.raises(StoreUrlInvalid, match="no_such_option"):
        FsspecStore(sftp.url("x"), sftp.options(no_such_option=1)).check()


def test_an_address_with_a_password_is_described_without_it() -> None:
    store = FsspecStore("sftp://user:hunter2@host:2222/path?token=hunter2", {})
    assert store.describe() == "sftp://user@host:2222/path"

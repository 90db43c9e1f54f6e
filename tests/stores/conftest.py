"""The object stores that the contract suite runs against, each over something real."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from tests.support.rclone_s3 import rclone_s3
from tests.support.s3_server import S3Server
from tests.support.sftp import SftpServer, sftp_server
from tests.support.stacks import all_stacks
from zimage_syncd.model.failures import StoreUnreachable
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.stores.fsspec_url import FsspecStore
from zimage_syncd.stores.memory import MemoryStore
from zimage_syncd.stores.object_store import ObjectStore
from zimage_syncd.stores.s3 import S3Store

_ATTEMPTS = 3

STORES = ("memory", "directory", "s3-seaweedfs", "s3-rclone", "fsspec-memory", "fsspec-sftp")


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with rclone_s3(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_bucket(seaweed: S3Server) -> str:
    return seaweed.make_bucket()


@pytest.fixture(scope="session")
def rclone_bucket(rclone: S3Server) -> str:
    return rclone.make_bucket()


@pytest.fixture(params=STORES)
def store_kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(request: pytest.FixtureRequest, store_kind: str, tmp_path: Path) -> Iterator[ObjectStore]:
    """An empty object store of each kind."""
    unique = uuid.uuid4().hex
    yield _open_store(request, store_kind, tmp_path, unique)
    if store_kind == "fsspec-memory":
        memory = fsspec.filesystem("memory")
        for path in memory.find(f"/{unique}"):
            memory.rm_file(path)


def _open_store(request: pytest.FixtureRequest, store_kind: str, tmp_path: Path, unique: str) -> ObjectStore:
    match store_kind:
        case "memory":
            return MemoryStore(lambda: datetime.now(UTC))
        case "directory":
            made = DirectoryStore(str(tmp_path / "archive"), "tester")
            made.make()
            return made
        case "s3-seaweedfs" | "s3-rclone":
            name = "seaweed" if store_kind == "s3-seaweedfs" else "rclone"
            server = request.getfixturevalue(name)
            return S3Store(server.settings(request.getfixturevalue(f"{name}_bucket"), f"tests/{unique}"))
        case "fsspec-memory":
            return FsspecStore(f"memory:///{unique}", {}, "tester")
        case "fsspec-sftp":
            server = request.getfixturevalue("sftp")
            return _connected(FsspecStore(server.url(unique), server.options(), "tester"))
    raise AssertionError(store_kind)


def _connected(store: FsspecStore) -> FsspecStore:
    """Makes the store's directory. Late in a long run asyncssh's server, in a thread beside thousands of tests, lets a
    connection wait for its first packet now and then; the next one is answered. What the threads did is a warning."""
    for _ in range(_ATTEMPTS - 1):
        try:
            store.make()
        except StoreUnreachable as failure:
            warnings.warn(f"{failure}; the threads then:\n{all_stacks()}", stacklevel=2)
        else:
            return store
    store.make()
    return store

"""Uploads to file systems that can only append, as most object stores behind fsspec do."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.support.bodies import FailingPart, PartBytes
from zimage_syncd.model.failures import DeviceFull, Stopped, StoreBroken
from zimage_syncd.stores.fsspec_url import FsspecStore

PART = 16 * 2**20


class _Stream(io.BytesIO):
    """Appends only; its content appears when it is closed."""

    def __init__(self, system: _StreamedFileSystem, path: str) -> None:
        super().__init__()
        self._system = system
        self._path = path

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")

    def write(self, data: Any) -> int:
        if self.getbuffer().nbytes + len(data) > self._system.limit_bytes:
            raise OSError(28, "No space left on device")
        return super().write(data)

    def close(self) -> None:
        if not self.closed:
            self._system.pipe_file(self._path, self.getvalue())
        super().close()


class _StreamedFileSystem(MemoryFileSystem):
    protocol = "streamed"
    limit_bytes = 2**40

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("streamed://"))

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        if mode == "wb" and "data" not in kwargs:
            return _Stream(self, path)
        return super()._open(path, mode, **kwargs)


@pytest.fixture
def store() -> Iterator[FsspecStore]:
    fsspec.register_implementation("streamed", _StreamedFileSystem, clobber=True)
    root = uuid.uuid4().hex
    yield FsspecStore(f"streamed:///{root}", {}, "tester")
    memory = fsspec.filesystem("memory")
    for path in memory.find(f"/{root}"):
        memory.rm_file(path)
    _StreamedFileSystem.limit_bytes = 2**40


def test_parts_out_of_order_and_repeated_ones_come_out_in_order(store: FsspecStore) -> None:
    data = os.urandom(2 * PART + 7)
    upload = store.begin_upload("a", len(data))
    for number in (3, 2, 2, 1, 1, 3):
        upload.put_part(number, PartBytes(data[(number - 1) * PART : number * PART]))
    assert store.head("a") is None
    upload.complete()
    assert store.get("a", len(data)) == data


def test_a_body_that_fails_half_way_leaves_no_half_of_it_in_the_stream(store: FsspecStore) -> None:
    data = os.urandom(3_000_000)
    upload = store.begin_upload("a", len(data))
    with pytest.raises(Stopped):
        upload.put_part(1, FailingPart(bytes(len(data)), Stopped("backup")))
    upload.put_part(1, PartBytes(data))
    upload.complete()
    assert store.get("a", len(data)) == data


def test_a_stream_that_fails_half_way_is_lost_and_says_so(store: FsspecStore) -> None:
    _StreamedFileSystem.limit_bytes = 1_500_000
    upload = store.begin_upload("a", 3_000_000)
    with pytest.raises(DeviceFull):
        upload.put_part(1, PartBytes(bytes(3_000_000)))
    with pytest.raises(StoreBroken, match="could not be written"):
        upload.put_part(1, PartBytes(bytes(3_000_000)))
    with pytest.raises(StoreBroken, match="the upload is lost"):
        upload.complete()
    assert store.head("a") is None
    upload.abort()
    assert store.open_uploads("") == []


def test_an_aborted_stream_leaves_nothing(store: FsspecStore) -> None:
    upload = store.begin_upload("a", 2 * PART)
    upload.put_part(2, PartBytes(bytes(PART)))
    upload.abort()
    assert list(store.scan("")) == []
    assert store.open_uploads("") == []

"""What a store on S3 makes of servers and networks that fail half-way."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.support.bodies import PartBytes
from tests.support.faulty_proxy import (
    Answer,
    Fault,
    FaultyProxy,
    FlipSent,
    IgnoreRange,
    LoseAnswer,
    Replace,
    Reset,
    Truncate,
    faulty_proxy,
)
from tests.support.s3_server import S3Server
from zimage_syncd.model.failures import FileChanging, StoreBroken, StoreUnreachable
from zimage_syncd.stores.s3 import S3Store

SIZE = 1_000_000


@pytest.fixture
def proxy(seaweed: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(seaweed.endpoint_url) as running:
        yield running


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def store(seaweed: S3Server, seaweed_bucket: str, proxy: FaultyProxy, pauses: list[float]) -> S3Store:
    prefix = f"faults/{uuid.uuid4().hex}"
    return S3Store(seaweed.settings(seaweed_bucket, prefix, endpoint_url=proxy.url), sleep=pauses.append)


@pytest.fixture
def data(store: S3Store) -> bytes:
    content = os.urandom(SIZE)
    store.put("blob", content)
    return content


def read_all(store: S3Store, offset: int, length: int) -> bytes:
    return b"".join(bytes(piece) for piece in store.read("blob", offset, length, memoryview(bytearray(65_536))))


@pytest.mark.parametrize("fault", [Reset(300_000), Truncate(300_000), Reset(0), Truncate(0)])
def test_a_broken_body_is_taken_up_where_it_stopped(
    store: S3Store, proxy: FaultyProxy, data: bytes, pauses: list[float], fault: Fault
) -> None:
    proxy.spoil("GET", fault)
    assert read_all(store, 10, 900_000) == data[10:900_010]
    first, second = proxy.ranges()
    assert first == "bytes=10-900009"
    begin = int(second.removeprefix("bytes=").partition("-")[0])
    # What arrived is not asked for again; a reset may have swallowed what lay in buffers.
    assert 10 <= begin <= 10 + getattr(fault, "after_bytes", 0)
    if fault == Truncate(300_000):
        assert begin == 300_010
    assert len(pauses) == 1


def test_reading_gives_up_after_a_bounded_number_of_breaks(
    store: S3Store, proxy: FaultyProxy, data: bytes, pauses: list[float]
) -> None:
    proxy.spoil("GET", Truncate(1000), times=100)
    with pytest.raises(StoreUnreachable, match="6 connections broke"):
        read_all(store, 0, SIZE)
    assert len(proxy.ranges()) == 6
    assert len(pauses) == 5


def test_a_small_object_survives_a_broken_body(store: S3Store, proxy: FaultyProxy, data: bytes) -> None:
    proxy.spoil("GET", Truncate(1000))
    proxy.spoil("GET", Reset(1000))
    assert store.get("blob", SIZE) == data
    assert len(proxy.ranges()) == 3


@pytest.mark.parametrize("answer", [Answer(503, "SlowDown"), Answer(500, "InternalError"), Answer(429, "TooMany")])
def test_a_busy_server_is_asked_again(store: S3Store, proxy: FaultyProxy, data: bytes, answer: Answer) -> None:
    proxy.spoil("GET", answer)
    assert read_all(store, 0, 100) == data[:100]
    assert len(proxy.ranges()) == 2


def test_a_server_that_stays_busy_is_unreachable(seaweed: S3Server, proxy: FaultyProxy) -> None:
    store = S3Store(seaweed.settings("bucket", endpoint_url=proxy.url, max_attempts=2))
    proxy.spoil("GET", Answer(503, "SlowDown"), times=2)
    with pytest.raises(StoreUnreachable, match="503 SlowDown"):
        store.get("blob", 10)
    assert len(proxy.seen) == 2


def test_a_server_that_ignores_the_range_is_read_from_the_right_place(
    store: S3Store, proxy: FaultyProxy, data: bytes
) -> None:
    proxy.spoil("GET", IgnoreRange(data))
    assert read_all(store, 123_457, 400_000) == data[123_457:523_457]
    assert len(proxy.ranges()) == 1


def test_a_server_that_ignores_the_range_and_breaks_is_read_all_the_same(
    store: S3Store, proxy: FaultyProxy, data: bytes
) -> None:
    proxy.spoil("GET", Truncate(300_000))
    proxy.spoil("GET", IgnoreRange(data))
    assert read_all(store, 10, 900_000) == data[10:900_010]


def test_a_shorter_object_is_broken_also_where_the_range_is_ignored(
    store: S3Store, proxy: FaultyProxy, data: bytes
) -> None:
    proxy.spoil("GET", IgnoreRange(data))
    with pytest.raises(StoreBroken, match=f"ends after {SIZE} bytes"):
        read_all(store, SIZE - 10, 11)


@pytest.mark.parametrize(
    "headers", [{"content-range": "bytes 5-99/1000000"}, {"content-range": "bytes */x"}, {"content-range": "lines 1-2"}]
)
def test_an_answer_for_another_range_is_refused(
    store: S3Store, proxy: FaultyProxy, data: bytes, headers: dict[str, str | None]
) -> None:
    proxy.spoil("GET", Replace(headers))
    with pytest.raises(StoreBroken, match="blob"):
        read_all(store, 0, 100)


def test_an_object_that_is_replaced_between_two_halves_is_refused(
    store: S3Store, proxy: FaultyProxy, data: bytes
) -> None:
    proxy.spoil("GET", Truncate(300_000))
    pieces = store.read("blob", 0, SIZE, memoryview(bytearray(65_536)))
    next(pieces)
    store.put("blob", os.urandom(SIZE))
    with pytest.raises(StoreBroken, match="was replaced"):
        list(pieces)


def test_a_small_object_whose_bytes_do_not_fit_its_etag_is_read_again(
    store: S3Store, proxy: FaultyProxy, data: bytes
) -> None:
    proxy.spoil("GET", Replace({"etag": '"00000000000000000000000000000000"'}))
    assert store.get("blob", SIZE) == data
    assert len(proxy.ranges()) == 2


def test_an_etag_that_never_is_the_md5_costs_one_more_request(store: S3Store, proxy: FaultyProxy, data: bytes) -> None:
    proxy.spoil("GET", Replace({"etag": '"00000000000000000000000000000000"'}), times=10)
    assert store.get("blob", SIZE) == data
    assert len(proxy.ranges()) == 2


def test_a_part_whose_answer_was_lost_is_sent_again(store: S3Store, proxy: FaultyProxy) -> None:
    data = os.urandom(2_000_000)
    upload = store.begin_upload("big", len(data))
    proxy.spoil("PUT", LoseAnswer())
    upload.put_part(1, PartBytes(data))
    upload.complete()
    assert store.get("big", len(data)) == data


def test_a_part_that_is_damaged_on_its_way_is_sent_again(store: S3Store, proxy: FaultyProxy) -> None:
    data = os.urandom(2_000_000)
    upload = store.begin_upload("big", len(data))
    proxy.spoil("PUT", FlipSent(1_234_567), times=2)
    upload.put_part(1, PartBytes(data))
    upload.complete()
    assert proxy.faults == []
    assert store.get("big", len(data)) == data


def test_a_part_that_is_always_damaged_on_its_way_is_an_error(store: S3Store, proxy: FaultyProxy) -> None:
    upload = store.begin_upload("big", 1000)
    proxy.spoil("PUT", FlipSent(100), times=10)
    with pytest.raises(StoreBroken, match=r"part 1 arrived damaged 3 times \(BadDigest\)"):
        upload.put_part(1, PartBytes(bytes(1000)))
    upload.abort()
    assert store.open_uploads("") == []


def test_a_part_that_changes_while_it_is_sent_is_not_the_servers_fault(store: S3Store) -> None:
    class Changing(PartBytes):
        def read(self, size: int | None = -1, /) -> bytes:
            self.getbuffer()[0] += 1
            return super().read(size)

    upload = store.begin_upload("big", 1000)
    with pytest.raises(FileChanging, match="part 1 was another one"):
        upload.put_part(1, Changing(bytes(1000)))
    upload.abort()


@pytest.mark.parametrize("answer", [Answer(501, "NotImplemented"), Answer(400, "InvalidArgument")])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_where_checksums_are_refused_parts_are_sent_without(
    store: S3Store, proxy: FaultyProxy, method: str, answer: Answer
) -> None:
    proxy.spoil(method, answer)
    data = os.urandom(1000)
    upload = store.begin_upload("big", len(data))
    proxy.spoil("PUT", FlipSent(100))
    upload.put_part(1, PartBytes(data))
    upload.complete()
    assert store.get("big", len(data)) != data, "nobody has checked it"
    assert store.open_uploads("") == []


def test_rclone_which_takes_a_wrong_part_is_sent_no_checksums(rclone: S3Server, rclone_bucket: str) -> None:
    with faulty_proxy(rclone.endpoint_url) as proxy:
        store = S3Store(rclone.settings(rclone_bucket, uuid.uuid4().hex, endpoint_url=proxy.url))
        data = os.urandom(1000)
        upload = store.begin_upload("big", len(data))
        upload.put_part(1, PartBytes(data))
        upload.complete()
        assert [method for method, _, _ in proxy.seen] == ["POST", "PUT", "DELETE", "POST", "PUT", "POST"]
        assert store.get("big", len(data)) == data
        assert store.open_uploads("") == []


def test_a_completion_whose_answer_was_lost_is_a_completion(store: S3Store, proxy: FaultyProxy) -> None:
    upload = store.begin_upload("big", 3)
    upload.put_part(1, PartBytes(b"abc"))
    proxy.spoil("POST", LoseAnswer())
    upload.complete()
    assert store.get("big", 3) == b"abc"
    assert store.open_uploads("") == []


def test_a_completion_that_finds_the_upload_gone_is_none_where_only_an_older_object_is_there(store: S3Store) -> None:
    """As where a damaged blob is sent again, and somebody's rule gives the upload up: that was called mended."""
    store.put("big", b"old")
    upload = store.begin_upload("big", 3)
    upload.put_part(1, PartBytes(b"new"))
    (other,) = store.open_uploads("big")
    store.abort_upload(other)
    with pytest.raises(StoreBroken, match="NoSuchUpload"):
        upload.complete()
    assert store.get("big", 3) == b"old"


def test_a_completion_that_is_repeated_and_finds_the_upload_gone_looks_for_the_object(
    store: S3Store, proxy: FaultyProxy
) -> None:
    for key, there in ("big", True), ("never", False):
        upload = store.begin_upload(key, 3)
        upload.put_part(1, PartBytes(b"abc"))
        if there:
            store.put(key, b"abc")
        proxy.spoil("POST", Answer(503, "SlowDown"))
        proxy.spoil("POST", Answer(404, "NoSuchUpload"))
        if there:
            upload.complete()
        else:
            with pytest.raises(StoreBroken, match="NoSuchUpload"):
                upload.complete()


def test_a_creation_whose_answer_was_lost_is_ones_own(store: S3Store, proxy: FaultyProxy) -> None:
    assert store.proves_conditional_create()
    proxy.spoil("PUT", LoseAnswer())
    assert store.create("refs/1", b"mine") is True
    proxy.spoil("PUT", LoseAnswer())
    assert store.create("refs/1", b"other") is False
    assert store.get("refs/1", 10) == b"mine"


def test_conditional_creation_is_proved_once_and_leaves_nothing(store: S3Store, proxy: FaultyProxy) -> None:
    assert store.create("refs/1", b"")
    assert store.create("refs/2", b"")
    assert len([path for method, path, _ in proxy.seen if method == "PUT" and "probe" in path]) == 2
    assert [info.key for info in store.scan("")] == ["refs/1", "refs/2"]


def test_a_server_that_refuses_conditions_is_written_to_without(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.spoil("PUT", Answer(501, "NotImplemented"), times=10, within="probe")
    assert store.proves_conditional_create() is False
    assert store.create("refs/1", b"mine") is True
    assert store.create("refs/1", b"other") is False
    assert store.get("refs/1", 10) == b"mine"


def test_rclone_which_ignores_conditions_proves_nothing(rclone: S3Server, rclone_bucket: str) -> None:
    assert S3Store(rclone.settings(rclone_bucket, "pre")).proves_conditional_create() is False


def test_a_listing_out_of_order_is_put_in_order(seaweed: S3Server, proxy: FaultyProxy) -> None:
    store = S3Store(seaweed.settings("bucket", "pre", endpoint_url=proxy.url))
    body = b"".join(
        [
            b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>',
            *(
                b"<Contents><Key>pre/%s</Key><Size>0</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
                % key
                for key in (b"b/c", b"a", b"b-c", b"dir/", b"")
            ),
            b"</ListBucketResult>",
        ]
    )
    proxy.spoil("GET", Answer(200, "", body))
    assert [info.key for info in store.scan("")] == ["a", "b-c", "b/c"]


def test_requests_hold_no_more_than_the_body_once(store: S3Store, proxy: FaultyProxy) -> None:
    upload = store.begin_upload("big", 100)
    upload.put_part(1, PartBytes(bytes(100)))
    upload.complete()
    begun = len(proxy.seen)
    upload = store.begin_upload("second", 100)
    upload.put_part(1, PartBytes(bytes(100)))
    upload.complete()
    methods = [method for method, _, _ in proxy.seen]
    assert methods[:begun] == ["POST", "PUT", "PUT", "DELETE", "POST", "PUT", "POST"]  # tries what is checked, once
    assert methods[begun:] == ["POST", "PUT", "POST"]


def test_threads_that_share_a_store_do_not_share_breaks(store: S3Store, proxy: FaultyProxy, data: bytes) -> None:
    proxy.spoil("GET", Truncate(1000), times=4)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(read_all(store, 0, SIZE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [data] * 4


def listing_of(name: str, item: str) -> Answer:
    return Answer(200, "", f"<{name}><IsTruncated>false</IsTruncated>{item}</{name}>".encode())


INCOMPLETE: dict[str, tuple[str, Answer | Replace, Callable[[S3Store], object]]] = {
    "an object without its time": ("HEAD", Replace({"last-modified": None}), lambda store: store.head("blob")),
    "an object without its size": ("HEAD", Replace({"content-length": None}), lambda store: store.head("blob")),
    "a listing without sizes": (
        "GET",
        listing_of("ListBucketResult", "<Contents><Key>{prefix}/blob</Key></Contents>"),
        lambda store: list(store.scan("")),
    ),
    "uploads without their times": (
        "GET",
        listing_of("ListMultipartUploadsResult", "<Upload><Key>{prefix}/blob</Key><UploadId>x</UploadId></Upload>"),
        lambda store: store.open_uploads("blob"),
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_answer_that_lacks_something_is_the_store_s_fault(
    store: S3Store, proxy: FaultyProxy, data: bytes, name: str
) -> None:
    """It ended the program with a traceback."""
    method, fault, ask = INCOMPLETE[name]
    if isinstance(fault, Answer):
        prefix = store.describe().partition("//")[2].partition("/")[2].partition(" ")[0]
        fault = replace(fault, body=fault.body.replace(b"{prefix}", prefix.encode()))
    proxy.spoil(method, fault)
    with pytest.raises(StoreBroken, match="the answer lacks"):
        ask(store)


@pytest.mark.parametrize(
    "item", ["<Part><PartNumber>1</PartNumber></Part>", "<Part><ETag>&quot;x&quot;</ETag><Size>3</Size></Part>"]
)
def test_parts_that_are_listed_without_what_tells_them_are_not_there(
    store: S3Store, proxy: FaultyProxy, item: str
) -> None:
    upload = store.begin_upload("big", 3)
    upload.put_part(1, PartBytes(b"abc"))
    proxy.spoil("GET", listing_of("ListPartsResult", item))
    assert store.resume_upload("big", 3, upload.id, {1: upload.mark(1)}) is None
    upload.abort()

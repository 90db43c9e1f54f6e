"""What every object store promises: one suite, run against each of them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.support.bodies import FailingPart, PartBytes, ShortPart
from zimage_syncd.model.failures import Failure, FileChanging, ObjectMissing, Stopped, StoreBroken, UnsafePath
from zimage_syncd.ports import ResumedUpload
from zimage_syncd.stores.object_store import ObjectStore, Resuming

PART = 16 * 2**20

HOSTILE = (
    "refs/huggingface/model/a%2Fb/refs%2Fpr%2F1/1.json",
    "refs/huggingface/dataset/a%2Fb/refs%2Fpr%2F1/1.json",
    "h/%25",
    "h/%2525",
    "h/100%",
    "h/a b",
    "h/ünï",
    "h/u\u0308ni\u0308",
    "h/日本語/模型",
    "h/😀",
    "h/+&=?#",
    "h/a*b[c]?",
    "h/~!@$^(){}|;:,'\"<>",
    "h/.hidden",
    "h/" + "x" * 255,
    "h/" + "y" * 250 + "/" + "z" * 250,
)

ONE_WINNER = {"memory", "directory", "s3-seaweedfs"}
"""Stores that promise that exactly one of several creators is told True."""


def read_all(store: ObjectStore, key: str, offset: int, length: int, buffer_bytes: int = 2**16) -> bytes:
    return b"".join(bytes(piece) for piece in store.read(key, offset, length, memoryview(bytearray(buffer_bytes))))


def keys_of(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.scan(prefix)]


def in_threads(work: list[Callable[[], object]], workers: int = 8) -> list[object]:
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(each) for each in work]]


def test_a_store_that_is_there_passes_its_check(store: ObjectStore) -> None:
    store.check()


def test_what_was_put_is_got_and_may_be_replaced(store: ObjectStore) -> None:
    store.put("a/b", b"first")
    store.put("a/b", b"second, longer")
    assert store.get("a/b", 100) == b"second, longer"
    assert keys_of(store) == ["a/b"]


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("empty", b"")
    assert store.get("empty", 0) == b""
    found = store.head("empty")
    assert found is not None
    assert found.size_bytes == 0


def test_get_refuses_an_object_that_is_larger_than_allowed(store: ObjectStore) -> None:
    store.put("a", bytes(11))
    assert store.get("a", 11) == bytes(11)
    with pytest.raises(StoreBroken, match="10"):
        store.get("a", 10)


def test_what_is_absent_is_told_so(store: ObjectStore) -> None:
    store.put("there/too", b"x")
    assert store.head("there/not") is None
    assert store.head("there") is None
    assert store.head("there/too/deep") is None
    with pytest.raises(ObjectMissing, match="there/not"):
        store.get("there/not", 10)
    with pytest.raises(ObjectMissing, match="there/not"):
        read_all(store, "there/not", 0, 1)
    assert keys_of(store, "nowhere/") == []


def test_head_tells_size_and_time_by_the_stores_own_clock(store: ObjectStore) -> None:
    before = store.now()
    store.put("a", bytes(1234))
    after = store.now()
    found = store.head("a")
    assert found is not None
    assert (found.key, found.size_bytes) == ("a", 1234)
    assert found.modified_at.utcoffset() == timedelta(0)
    # Some servers give whole seconds, and a disk's clock ticks a few milliseconds late.
    assert before - timedelta(seconds=2) <= found.modified_at <= after + timedelta(seconds=2)
    assert keys_of(store) == ["a"], "the clock left something behind"


def test_create_refuses_what_is_there_and_leaves_it_alone(store: ObjectStore) -> None:
    assert store.create("refs/1", b"mine") is True
    assert store.create("refs/1", b"other") is False
    assert store.get("refs/1", 10) == b"mine"
    store.delete("refs/1")
    assert store.create("refs/1", b"again") is True
    assert keys_of(store) == ["refs/1"]


@pytest.mark.parametrize("buffer_bytes", [1000, 2**20])
def test_ranges_are_exact_wherever_they_begin_and_end(store: ObjectStore, buffer_bytes: int) -> None:
    data = os.urandom(100_003)
    store.put("a", data)
    for offset, length in [
        (0, 1),
        (0, 100_003),
        (1, 999),
        (999, 1002),
        (65_537, 3),
        (100_002, 1),
        (7, 0),
        (100_003, 0),
    ]:
        assert read_all(store, "a", offset, length, buffer_bytes) == data[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(0, 101), (99, 2), (100, 1), (5000, 10)])
def test_a_range_past_the_end_is_broken_not_short(store: ObjectStore, offset: int, length: int) -> None:
    store.put("a", bytes(100))
    with pytest.raises(StoreBroken, match="a"):
        read_all(store, "a", offset, length)


def test_a_listing_has_no_end_at_a_thousand(store: ObjectStore) -> None:
    wanted = [f"many/{number:05}" for number in range(1005)]
    in_threads([lambda key=key: store.put(key, key.encode()[:7]) for key in wanted])
    found = list(store.scan("many/"))
    assert [info.key for info in found] == wanted
    assert {info.size_bytes for info in found} == {7}


def test_a_listing_is_in_order_of_code_points_and_of_whole_keys(store: ObjectStore) -> None:
    wanted = sorted(["a-b", "a.b", "a/b", "a/b-c", "a/b.d/e", "a0", "aB", "ab", "é", "\uffee", "😀/x", "日"])
    for key in reversed(wanted):
        store.put(key, b"")
    assert keys_of(store) == wanted


def test_a_prefix_ends_anywhere_in_a_key(store: ObjectStore) -> None:
    for key in ["blobs/ab/abc", "blobs/ab/abd", "blobs/abe", "blobs/b", "blob"]:
        store.put(key, b"")
    assert keys_of(store, "blobs/ab") == ["blobs/ab/abc", "blobs/ab/abd", "blobs/abe"]
    assert keys_of(store, "blobs/ab/") == ["blobs/ab/abc", "blobs/ab/abd"]
    assert keys_of(store, "blobs/ab/abd") == ["blobs/ab/abd"]
    assert keys_of(store, "blobs/ab/abd/") == []
    assert len(keys_of(store, "b")) == 5


def test_keys_of_hostile_names_are_kept_apart_and_as_they_are(store: ObjectStore) -> None:
    for key in HOSTILE:
        store.put(key, key.encode())
    assert keys_of(store) == sorted(HOSTILE)
    for key in HOSTILE:
        found = store.head(key)
        assert found is not None
        assert found.size_bytes == len(key.encode())
        assert store.get(key, 2000) == key.encode()
        assert read_all(store, key, 1, 2) == key.encode()[1:3]
        assert keys_of(store, key) == sorted(each for each in HOSTILE if each.startswith(key))
    for key in HOSTILE:
        store.delete(key)
    assert keys_of(store) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "../a", "a/../b", "a/./b", "a//b", "a/", "a\0b", "a\\b", "a\nb", "a\udcff", "a/" + "x" * 256),
        "a/.b.0123456789abcdef.tester.upload",
    ],
)
def test_keys_that_could_escape_or_change_are_refused(store: ObjectStore, key: str) -> None:
    operations: list[Callable[[], object]] = [
        lambda: store.put(key, b""),
        lambda: store.create(key, b""),
        lambda: store.get(key, 1),
        lambda: store.head(key),
        lambda: store.delete(key),
        lambda: read_all(store, key, 0, 1),
        lambda: store.begin_upload(key, 1),
    ]
    for operation in operations:
        with pytest.raises(UnsafePath):
            operation()
    assert keys_of(store) == []


def test_deleting_removes_one_object_and_the_absent_is_no_error(store: ObjectStore) -> None:
    store.put("a/b", b"")
    store.put("a/c", b"")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")
    assert keys_of(store) == ["a/c"]


def test_an_upload_is_seen_whole_or_not_at_all(store: ObjectStore) -> None:
    data = os.urandom(PART + 1_000_003)
    upload = store.begin_upload("blobs/ab/abc", len(data))
    assert upload.part_bytes == PART
    upload.put_part(2, PartBytes(data[PART:]))
    upload.put_part(1, PartBytes(data[:PART]))
    assert store.head("blobs/ab/abc") is None
    assert keys_of(store) == []
    with pytest.raises(ObjectMissing):
        store.get("blobs/ab/abc", 10)
    upload.complete()
    found = store.head("blobs/ab/abc")
    assert found is not None
    assert found.size_bytes == len(data)
    assert read_all(store, "blobs/ab/abc", PART - 5, 10, 3) == data[PART - 5 : PART + 5]
    digest = hashlib.sha256(read_all(store, "blobs/ab/abc", 0, len(data), 2**20)).digest()
    assert digest == hashlib.sha256(data).digest()
    assert store.open_uploads("") == []
    assert keys_of(store) == ["blobs/ab/abc"]


def test_a_part_may_be_sent_again_as_after_a_lost_answer(store: ObjectStore) -> None:
    data = os.urandom(PART + 1000)
    upload = store.begin_upload("a", len(data))
    upload.put_part(1, PartBytes(data[:PART]))
    upload.put_part(2, PartBytes(data[PART:]))
    upload.put_part(1, PartBytes(data[:PART]))
    upload.put_part(2, PartBytes(data[PART:]))
    upload.complete()
    assert store.get("a", len(data)) == data


def test_parts_may_come_from_several_threads(store: ObjectStore) -> None:
    data = os.urandom(2 * PART + 5)
    upload = store.begin_upload("a", len(data))
    bodies = [data[start : start + PART] for start in range(0, len(data), PART)]
    in_threads([lambda n=n, body=body: upload.put_part(n, PartBytes(body)) for n, body in enumerate(bodies, 1)][::-1])
    upload.complete()
    assert store.get("a", len(data)) == data


@pytest.mark.parametrize("data", [b"", b"one small part"])
def test_an_upload_may_be_small_or_empty(store: ObjectStore, data: bytes) -> None:
    upload = store.begin_upload("a", len(data))
    if data:
        upload.put_part(1, PartBytes(data))
    upload.complete()
    assert store.get("a", 100) == data
    assert store.open_uploads("") == []


def test_an_aborted_upload_leaves_nothing(store: ObjectStore) -> None:
    upload = store.begin_upload("a/b", 10)
    upload.put_part(1, PartBytes(bytes(10)))
    upload.abort()
    upload.abort()
    assert store.head("a/b") is None
    assert store.open_uploads("") == []
    assert keys_of(store) == []


def test_aborting_after_completion_does_not_take_the_object_away(store: ObjectStore) -> None:
    upload = store.begin_upload("a", 3)
    upload.put_part(1, PartBytes(b"abc"))
    upload.complete()
    upload.abort()
    assert store.get("a", 3) == b"abc"


def test_a_missing_part_is_refused_and_nothing_appears(store: ObjectStore) -> None:
    upload = store.begin_upload("a", PART + 1)
    upload.put_part(2, PartBytes(b"x"))
    with pytest.raises(StoreBroken, match="part 1 of 2"):
        upload.complete()
    assert store.head("a") is None
    upload.abort()
    assert store.open_uploads("") == []


@pytest.mark.parametrize(("number", "length"), [(0, 10), (3, 10), (1, 10), (2, 2)])
def test_a_part_of_the_wrong_number_or_length_is_refused(store: ObjectStore, number: int, length: int) -> None:
    upload = store.begin_upload("a", PART + 1)
    with pytest.raises(ValueError, match="part"):
        upload.put_part(number, PartBytes(bytes(length)))
    upload.abort()


def test_a_body_that_ends_early_is_told_and_can_be_sent_again(store: ObjectStore) -> None:
    data = os.urandom(3_000_000)
    upload = store.begin_upload("a", len(data))
    with pytest.raises(FileChanging, match="ended"):
        upload.put_part(1, ShortPart(data[:2_000_000], len(data)))
    with pytest.raises(StoreBroken, match="part 1 of 1"):
        upload.complete()
    upload.put_part(1, PartBytes(data))
    upload.complete()
    assert store.get("a", len(data)) == data


def test_what_a_body_raises_comes_out_as_it_is_and_is_not_tried_again(store: ObjectStore) -> None:
    upload = store.begin_upload("a", 3_000_000)
    body = FailingPart(bytes(3_000_000), Stopped("backup"))
    with pytest.raises(Stopped):
        upload.put_part(1, body)
    reads = body.reads
    with pytest.raises(Stopped):
        upload.put_part(1, body)
    assert body.reads == 2 * reads
    upload.abort()
    assert store.head("a") is None


def test_open_uploads_are_listed_by_key_and_anybody_may_give_them_up(store: ObjectStore) -> None:
    uploads = {key: store.begin_upload(key, 10) for key in ["blobs/aa/1", "blobs/aa/2", "other/3"]}
    listed = {each.key: each for each in store.open_uploads("blobs/")}
    assert sorted(listed) == ["blobs/aa/1", "blobs/aa/2"]
    assert {key: each.id for key, each in listed.items()} == {key: uploads[key].id for key in listed}
    assert abs(listed["blobs/aa/1"].started_at - store.now()) < timedelta(seconds=30)
    assert [each.key for each in store.open_uploads("blobs/aa/2")] == ["blobs/aa/2"]
    assert keys_of(store) == [], "an unfinished upload is no object"
    store.abort_upload(listed["blobs/aa/1"])
    store.abort_upload(listed["blobs/aa/1"])
    assert sorted(each.key for each in store.open_uploads("")) == ["blobs/aa/2", "other/3"]
    uploads["blobs/aa/2"].put_part(1, PartBytes(bytes(10)))
    uploads["blobs/aa/2"].complete()
    uploads["other/3"].abort()
    assert store.open_uploads("") == []
    assert keys_of(store) == ["blobs/aa/2"]


def test_an_upload_that_somebody_gave_up_cannot_be_completed(store: ObjectStore) -> None:
    upload = store.begin_upload("a", 10)
    upload.put_part(1, PartBytes(bytes(10)))
    (listed,) = store.open_uploads("a")
    store.abort_upload(listed)
    with pytest.raises(Failure):
        upload.complete()
    assert store.head("a") is None
    upload.abort()


def test_two_uploads_of_one_key_do_not_touch_each_other(store: ObjectStore) -> None:
    first, second = store.begin_upload("a", 5), store.begin_upload("a", 6)
    assert len(store.open_uploads("a")) == 2
    first.put_part(1, PartBytes(b"first"))
    second.put_part(1, PartBytes(b"second"))
    second.complete()
    assert store.get("a", 10) == b"second"
    first.complete()
    assert store.get("a", 10) == b"first"


@pytest.fixture
def resuming(store: ObjectStore, store_kind: str) -> Resuming:
    assert isinstance(store, Resuming) == store_kind.startswith("s3")
    if not isinstance(store, Resuming):
        pytest.skip("what a crash leaves of a hidden file is not gone on with")
    return store


def begun(store: ObjectStore, bodies: list[bytes], sent: list[int]) -> tuple[str, dict[int, str]]:
    """An upload of which some parts were sent: its name, and their marks."""
    upload = store.begin_upload("a", sum(map(len, bodies)))
    assert isinstance(upload, ResumedUpload)
    assert upload.there() == frozenset()
    for number in sent:
        upload.put_part(number, PartBytes(bodies[number - 1]))
    return upload.id, {number: upload.mark(number) for number in sent}


def test_an_upload_is_gone_on_with(store: ObjectStore, resuming: Resuming) -> None:
    bodies = [os.urandom(PART), os.urandom(PART), os.urandom(7)]
    name, marks = begun(store, bodies, [2, 3])
    upload = resuming.resume_upload("a", 2 * PART + 7, name, marks)
    assert upload is not None
    assert isinstance(upload, ResumedUpload)
    assert upload.id == name
    assert upload.there() == {2, 3}
    upload.keep_part(2)
    upload.keep_part(3)
    assert {number: upload.mark(number) for number in (2, 3)} == marks
    upload.put_part(1, PartBytes(bodies[0]))
    upload.complete()
    assert (
        hashlib.sha256(read_all(store, "a", 0, 2 * PART + 7, 2**20)).digest()
        == hashlib.sha256(b"".join(bodies)).digest()
    )
    assert store.open_uploads("") == []


def test_a_part_that_is_another_one_than_it_was_is_not_there(
    store: ObjectStore, store_kind: str, resuming: Resuming
) -> None:
    if store_kind == "s3-rclone":
        pytest.skip("rclone takes no other content for a part that it has")
    bodies = [bytes(PART), bytes(7)]
    name, marks = begun(store, bodies, [1, 2])
    again = resuming.resume_upload("a", PART + 7, name, marks)
    assert again is not None
    again.put_part(2, PartBytes(b"x" * 7))
    upload = resuming.resume_upload("a", PART + 7, name, marks)
    assert isinstance(upload, ResumedUpload)
    assert upload.there() == {1}
    with pytest.raises(KeyError):
        upload.keep_part(2)


def test_an_upload_of_another_size_has_no_parts_of_this_one(store: ObjectStore, resuming: Resuming) -> None:
    name, marks = begun(store, [bytes(7)], [1])
    assert resuming.resume_upload("a", 8, name, marks) is None


def test_an_upload_that_is_gone_or_has_no_parts_is_not_gone_on_with(store: ObjectStore, resuming: Resuming) -> None:
    name, marks = begun(store, [bytes(7)], [1])
    assert resuming.resume_upload("a", 7, name, {}) is None
    for listed in store.open_uploads("a"):
        store.abort_upload(listed)
    assert resuming.resume_upload("a", 7, name, marks) is None
    assert resuming.resume_upload("a", 7, "no such upload", marks) is None


def test_a_reader_never_sees_half_of_what_is_being_replaced(store: ObjectStore) -> None:
    bodies = [bytes([value]) * (700_000 + value) for value in range(8)]
    store.put("a", bodies[0])
    done = threading.Event()
    torn: list[int] = []
    reads = [0, 0]

    def read(reader: int) -> None:
        while not done.is_set():
            found = store.get("a", 2**20)
            reads[reader] += 1
            if found not in bodies:
                torn.append(len(found))

    readers = [threading.Thread(target=read, args=(reader,)) for reader in (0, 1)]
    for reader in readers:
        reader.start()
    try:
        for body in bodies * 3:
            store.put("a", body)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert torn == []
    assert min(reads) > 0
    assert keys_of(store) == ["a"]


def test_many_threads_read_different_objects_at_once(store: ObjectStore) -> None:
    contents = {f"k/{number}": os.urandom(200_000 + number) for number in range(16)}
    for key, data in contents.items():
        store.put(key, data)
    keys = list(contents) * 4
    found = in_threads([lambda key=key: read_all(store, key, 3, 150_000, 40_000) for key in keys], workers=16)
    assert found == [contents[key][3:150_003] for key in keys]


def test_two_creators_at_one_moment_leave_one_whole_object_of_a_winner(store: ObjectStore, store_kind: str) -> None:
    for round_number in range(10):
        key = f"refs/{round_number}"
        ready = threading.Barrier(2)

        def create(data: bytes, key: str = key, ready: threading.Barrier = ready) -> bool:
            ready.wait(10)
            return store.create(key, data)

        bodies = [bytes([65 + writer]) * 5000 for writer in range(2)]
        told = in_threads([lambda body=body: create(body) for body in bodies], workers=2)
        winners = [body for body, won in zip(bodies, told, strict=True) if won]
        assert store.get(key, 10_000) in winners
        if store_kind in ONE_WINNER:
            assert len(winners) == 1
    assert len(keys_of(store)) == 10


def test_only_a_directory_has_paths(store: ObjectStore, store_kind: str) -> None:
    store.put("a/b", b"content")
    path = store.local_path("a/b")
    if store_kind != "directory":
        assert path is None
        return
    assert path is not None
    assert os.path.isabs(path)
    with open(path, "rb") as file:
        assert file.read() == b"content"
    assert store.local_path("a/c") is None


def test_an_address_names_the_place_and_no_secret(store: ObjectStore) -> None:
    described = store.describe() + repr(store)
    assert "secret" not in described

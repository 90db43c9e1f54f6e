"""What is packed is what comes out again, and a manifest with very many entries is one like all others."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator

import pytest

from tests.model.test_manifest import key_of
from zimage_syncd.model import manifest as manifest_module
from zimage_syncd.model import manifest_json
from zimage_syncd.model.failures import ManifestCorrupt, ManifestInvalid, Stopped, StoreUnreachable
from zimage_syncd.model.manifest import CHUNK_BYTES, Entry, FileEntry, LinkEntry, Manifest, PointerEntry, Proof
from zimage_syncd.model.packed import Packed
from zimage_syncd.model.packed_entries import Entries
from zimage_syncd.model.path import RelPath


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def entries(count: int) -> list[Entry]:
    """Of all kinds, some with odd names, none, one and several chunks, and a long text."""
    made: list[Entry] = []
    for number in range(count):
        chunks = tuple(digest(index) for index in range(number % 4))
        size_bytes = max(0, (len(chunks) - 1) * CHUNK_BYTES) + bool(chunks)
        made.append(FileEntry(RelPath(f"blobs/{digest(number)}"), size_bytes, number % 512, digest(number), chunks))
        name = ("plain", "ü", "\udcff", "sp ace", "a.b")[number % 5]
        made.append(LinkEntry(RelPath(f"names/{number:06}/{name}"), f"../../blobs/{digest(number)}"))
        made.append(PointerEntry(RelPath(f"refs/{number:06}"), "text\n" * (1200 if number == 7 else 1), 0o600))
    return sorted(made, key=lambda entry: entry.path)


def test_entries_come_out_as_they_went_in() -> None:
    made = entries(700)

    packed = Entries(made)

    assert len(packed) == len(made)
    assert list(packed) == made
    assert [packed[index] for index in range(0, len(made), 37)] == made[::37]
    assert packed[-1] == made[-1]
    assert list(packed[300:900:7]) == made[300:900:7]
    assert all(type(entry.path) is RelPath for entry in packed)
    assert all(type(entry.target) is str for entry in packed if isinstance(entry, LinkEntry))
    with pytest.raises(IndexError):
        packed[len(made)]


def test_equal_entries_are_equal_packed_and_any_difference_shows() -> None:
    made = entries(300)
    packed = Entries(made)

    assert packed == Entries(iter(made))
    assert hash(packed) == hash(Entries(made))
    assert packed != Entries(made[:-1])
    assert packed != Entries([*made[:-1], PointerEntry(made[-1].path, "another text")])


def test_nothing_and_what_is_kept_as_it_is() -> None:
    assert list(Packed([], lambda path, _row: path)) == []
    texts = ["a", "b", "long", "c", "long", "long"]
    packed = Packed([text if text == "long" else (text,) for text in texts], lambda path, _row: path)
    assert list(packed) == texts
    assert [packed[index] for index in range(6)] == texts


def test_a_manifest_of_many_entries_is_written_and_read_like_one_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    made = entries(400)
    many = Manifest(key_of(), Proof.PROVED, made)
    data = many.to_bytes()
    read = Manifest.from_bytes(data, many.id)
    monkeypatch.setattr(manifest_module, "_FEW", len(made))
    few = Manifest(key_of(), Proof.PROVED, made)

    assert isinstance(many.entries, Entries)
    assert isinstance(few.entries, tuple)
    assert few.to_bytes() == data
    assert (few.id, few.json_bytes) == (many.id, len(data))
    assert read == many
    assert (read.id, read.json_bytes) == (many.id, len(data))
    for name in ("files", "links", "pointers"):
        assert tuple(getattr(many, name)) == getattr(few, name)
        assert len(getattr(many, name)) == len(getattr(few, name))
    assert many.size_bytes == few.size_bytes


@pytest.mark.parametrize("long_chars", [1, 7, 100])
def test_long_texts_are_written_and_read_alike_in_pieces(long_chars: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = entries(60)
    whole = Manifest(key_of(), Proof.PROVED, made).to_bytes()
    monkeypatch.setattr(manifest_json, "_LONG_CHARS", long_chars)
    few = Manifest(key_of(), Proof.PROVED, made)

    assert few.to_bytes() == whole
    assert Manifest.from_bytes(whole) == few
    with pytest.raises(ManifestInvalid):
        Manifest.from_bytes(whole.replace(b"text\\n", b"text\\u000a", 1))


@pytest.mark.parametrize("at", [0, 500, 1100])
def test_a_manifest_of_many_entries_is_checked_like_one_of_few(at: int) -> None:
    made = entries(400)
    repeated = [*made[: at + 1], *made[at:]]
    below = [*made[: at + 1], LinkEntry(RelPath(f"{made[at].path}/x"), "y"), *made[at + 1 :]]
    hidden = [*made, PointerEntry(RelPath("x/.locks/y"), "z")]

    for wrong, why in ((repeated, "sorted"), (below, "below"), (hidden, "never part")):
        with pytest.raises(ManifestInvalid, match=why):
            Manifest(key_of(), Proof.PROVED, wrong)


def test_an_entry_below_another_one_is_found_whatever_sorts_between_them() -> None:
    between = ["a", "a-b", "a-b.c", "a.b", "a.b-c"]
    made: list[Entry] = [LinkEntry(RelPath(path), "t") for path in (*between, "a/b")]

    Manifest(key_of(), Proof.PROVED, made[1:])
    with pytest.raises(ManifestInvalid, match="below"):
        Manifest(key_of(), Proof.PROVED, made)


def test_damage_anywhere_in_a_manifest_of_many_entries_is_found_by_its_id() -> None:
    many = Manifest(key_of(), Proof.PROVED, entries(400))
    data = many.to_bytes()

    for position in range(0, len(data), len(data) // 23):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(ManifestCorrupt):
            Manifest.from_bytes(bytes(damaged), many.id)
    with pytest.raises(ManifestCorrupt):
        Manifest.from_bytes(data[:-1], many.id)


def test_a_manifest_of_many_files_takes_less_memory_than_its_json() -> None:
    data = Manifest(key_of(), Proof.PROVED, entries(10_000)).to_bytes()
    tracemalloc.start()
    try:
        read = Manifest.from_bytes(data)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(read.files) == 10_000
    assert left < 0.7 * len(data)
    assert peak - left < 4 * 2**20


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("trouble", [StoreUnreachable("bucket", "unplugged"), Stopped("test"), OSError("a bad sector")])
def test_trouble_with_reading_is_not_taken_for_damage(trouble: Exception, after: int) -> None:
    many = Manifest(key_of(), Proof.PROVED, entries(400))
    data = many.to_bytes()

    def read() -> Iterator[bytes]:
        yield from (data[at * 1000 : (at + 1) * 1000] for at in range(after))
        raise trouble

    with pytest.raises(type(trouble)):
        Manifest.from_pieces(read, many.id)

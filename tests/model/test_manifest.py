"""Manifests: any that is written is read back equal; any hostile one is refused with a name."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.manifests import file_entry, key_of, manifest_with
from zimage_syncd.model import manifest as manifest_module
from zimage_syncd.model import manifest_json
from zimage_syncd.model.failures import Failure, ManifestCorrupt, ManifestInvalid
from zimage_syncd.model.manifest import (
    CHUNK_BYTES,
    MAX_FILE_BYTES,
    MAX_POINTER_BYTES,
    FileEntry,
    LinkEntry,
    Manifest,
    PointerEntry,
    Proof,
    chunk_count,
)
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
names = (
    (st.binary(min_size=1, max_size=8).filter(lambda raw: b"/" not in raw and b"\0" not in raw).map(os.fsdecode))
    | st.sampled_from(["hub", "models", "blobs", "snapshots", "a b", "token.json", "weights.safetensors"])
).filter(lambda name: name not in {".", ".."})
paths = (
    st.lists(names, min_size=1, max_size=5).map("/".join).map(RelPath).filter(lambda path: private_part(path) is None)
)


@st.composite
def files(draw, path):
    size_bytes = draw(st.integers(0, 3 * CHUNK_BYTES) | st.integers(0, 40).map(lambda count: count * CHUNK_BYTES))
    chunks = draw(st.lists(digests, min_size=chunk_count(size_bytes), max_size=chunk_count(size_bytes)))
    return FileEntry(path, size_bytes, draw(st.integers(0, 0o777)), draw(digests), tuple(chunks))


@st.composite
def links(draw, path):
    ups = draw(st.integers(0, len(path.parts) - 1))
    base = path.parts[: len(path.parts) - 1 - ups]
    rest = draw(paths.filter(lambda rest: private_part("/".join((*base, rest))) is None))
    return LinkEntry(path, "../" * ups + rest)


@st.composite
def entries(draw, path):
    kind = draw(st.sampled_from(["file", "link", "pointer"]))
    if kind == "file":
        return draw(files(path))
    if kind == "link":
        return draw(links(path))
    text = draw(st.text(st.characters(exclude_categories=["Cs"])))
    return PointerEntry(path, text, draw(st.integers(0, 0o777)))


@st.composite
def manifests(draw):
    chosen = sorted(draw(st.sets(paths, min_size=1, max_size=8)))
    apart = [path for path in chosen if not any(parent in chosen for parent in path.parents)]
    repo = draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,9}(/[A-Za-z0-9][A-Za-z0-9_-]{0,9})?", fullmatch=True))
    revision = draw(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f"), min_size=1, max_size=20))
    key = SnapshotKey(draw(st.sampled_from(LayoutName)), RepoId(draw(st.sampled_from(RepoType)), repo), revision)
    return Manifest(key, draw(st.sampled_from(Proof)), tuple(draw(entries(path)) for path in apart))


@settings(deadline=None)
@given(manifests())
def test_any_manifest_that_is_written_is_read_back_equal(manifest):
    data = manifest.to_bytes()
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert hashlib.sha256(data).hexdigest() == manifest.id
    found = Manifest.from_bytes(data, manifest.id)
    assert found == manifest
    assert found.id == manifest.id
    assert all(type(entry.path) is RelPath for entry in found.entries)


def check_harmless(manifest):
    """What must hold of whatever is accepted, said in other words than the code says it."""
    paths = [entry.path for entry in manifest.entries]
    assert paths == sorted(set(paths))
    for path in paths:
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.split("/"))
        assert "\0" not in path
        assert not {".zimage-syncd", ".locks", ".lock"} & set(path.split("/"))
        assert path not in {"token", "stored_tokens", "hub/token"}
    for first, second in itertools.permutations(paths, 2):
        assert not second.startswith(f"{first}/")
    for link in manifest.links:
        inside = os.path.normpath(os.path.join("/r", os.path.dirname(link.path), link.target))
        assert inside.startswith("/r/")
    for file in manifest.files:
        assert len(file.chunks) == -(-file.size_bytes // CHUNK_BYTES)
        assert 0 <= file.mode <= 0o777
        assert type(file.size_bytes) is type(file.mode) is int, "a bool is written otherwise"


EXAMPLE = manifest_with(
    {
        "hub/models--acme--painter/blobs/one": b"one",
        "hub/models--acme--painter/blobs/two": b"",
    },
    links={"hub/models--acme--painter/snapshots/c/x.json": "../../blobs/one"},
    pointers={"hub/models--acme--painter/refs/main": "c"},
)

HOSTILE = [
    None,
    True,
    False,
    0,
    -1,
    1.0,
    1e400,
    float("nan"),
    2**63,
    10**30,
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "hub/models--acme--painter/blobs/one/below",
    "hub/models--acme--painter/blobs/two",
    "hub/token",
    "token",
    ".zimage-syncd/identity.json",
    "hub/.locks/x",
    "nul\0",
    "\ud800",
    "x" * 5000,
    "file",
    "link",
    "pointer",
    "0" * 64,
    "A" * 64,
    [],
    ["0" * 64],
    ["0" * 64] * 3,
    [[[[[]]]]],
    {},
    {"kind": "file"},
    {"a": {"b": {"c": 1}}},
]


def places(value, above=()):
    """Where in a document something stands."""
    yield above
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*above, key))
    if isinstance(value, list):
        for index in range(len(value)):
            yield from places(value[index], (*above, index))


def changed(document, place, value):
    if not place:
        return value
    document = copy.deepcopy(document)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return document


def canonical(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_or_refused(data):
    """Reads a document; None where it was refused with a name."""
    try:
        manifest = Manifest.from_bytes(data)
    except ManifestInvalid as failure:
        str(failure)
        return None
    assert manifest.to_bytes() == data
    check_harmless(manifest)
    return manifest


def test_every_value_of_a_document_replaced_by_every_hostile_one():
    document = json.loads(EXAMPLE.to_bytes())
    refused = 0
    for place in places(document):
        for value in HOSTILE:
            refused += read_or_refused(canonical(changed(document, place, value))) is None
    assert refused > 700


def test_every_key_left_out_and_one_too_many():
    document = json.loads(EXAMPLE.to_bytes())
    for place in places(document):
        if place and isinstance(place[-1], str):
            less = copy.deepcopy(document)
            inner = less
            for step in place[:-1]:
                inner = inner[step]
            del inner[place[-1]]
            assert read_or_refused(canonical(less)) is None, place
            inner[place[-1]] = document
            assert read_or_refused(canonical(changed(document, (*place[:-1], "more"), 1))) is None, place


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_documents_with_anything_anywhere_are_valid_or_refused(data):
    document = json.loads(data.draw(manifests()).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(document))))
        document = changed(document, place, data.draw(json_values))
    read_or_refused(canonical(document))


@settings(deadline=None)
@given(manifests(), st.data())
def test_bytes_changed_anywhere_are_refused_by_the_id(manifest, data):
    raw = bytearray(manifest.to_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ManifestCorrupt):
        Manifest.from_bytes(bytes(raw), manifest.id)
    read_or_refused(bytes(raw))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_are_refused(data):
    assert read_or_refused(data) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"\xff\xfe\x00",
        EXAMPLE.to_bytes().decode().encode("utf-16"),
        EXAMPLE.to_bytes()[:-1],
        EXAMPLE.to_bytes() + b"\n",
        b" " + EXAMPLE.to_bytes(),
        EXAMPLE.to_bytes().replace(b",", b", "),
        EXAMPLE.to_bytes().replace(b'"format":1', b'"format":1.0'),
        EXAMPLE.to_bytes().replace(b'"format":1', b'"format":true'),
        EXAMPLE.to_bytes().replace(b'"format":1', b'"format":1,"format":1'),
        EXAMPLE.to_bytes().replace(b'"format":1', b'"format":2'),
        EXAMPLE.to_bytes().replace(b'"chunk_bytes":16777216', b'"chunk_bytes":1048576'),
        EXAMPLE.to_bytes().replace(b'"mode":420', b'"mode":4.2e2'),
        EXAMPLE.to_bytes().replace(b'"mode":420', b'"mode":NaN'),
        EXAMPLE.to_bytes().replace(b'"mode":420', b'"mode":' + b"9" * 5000),
        EXAMPLE.to_bytes().replace(b'"mode":420', b'"mode":-0'),
        EXAMPLE.to_bytes().replace(b"acme/painter", rb"\u0061cme/painter"),
        EXAMPLE.to_bytes().replace(b"acme/painter", "acmé/painter".encode()),
        EXAMPLE.to_bytes().replace(b"acme/painter", b"../painter"),
        EXAMPLE.to_bytes().replace(b"acme/painter", b"a/b/c"),
    ],
    ids=range(26),
)
def test_only_the_canonical_form_is_read(data):
    with pytest.raises(ManifestInvalid):
        Manifest.from_bytes(data)


class TestEntries:
    def test_too_many_and_too_few_chunks_are_refused(self):
        for count in (0, 1, 3):
            with pytest.raises(ManifestInvalid, match=f"{count} chunks, expected 2"):
                FileEntry(RelPath("a"), CHUNK_BYTES + 1, 0o644, "0" * 64, ("1" * 64,) * count)
        with pytest.raises(ManifestInvalid):
            FileEntry(RelPath("a"), 0, 0o644, "0" * 64, ("1" * 64,))

    @pytest.mark.parametrize("size_bytes", [-1, MAX_FILE_BYTES + 1, 10**30])
    def test_sizes_out_of_bounds_are_refused(self, size_bytes):
        with pytest.raises(ManifestInvalid, match="out of bounds"):
            FileEntry(RelPath("a"), size_bytes, 0o644, "0" * 64, ())

    @pytest.mark.parametrize("mode", [-1, 0o1000, 0o4755, 0o100644])
    def test_modes_beyond_permissions_are_refused(self, mode):
        with pytest.raises(ManifestInvalid, match="mode"):
            FileEntry(RelPath("a"), 0, mode, "0" * 64, ())

    @pytest.mark.parametrize("sha256", ["", "0" * 63, "A" * 64, "g" * 64, "0" * 64 + "\n"])
    def test_digests_of_another_form_are_refused(self, sha256):
        with pytest.raises(ManifestInvalid, match="digest"):
            FileEntry(RelPath("a"), 0, 0o644, sha256, ())

    @pytest.mark.parametrize("target", ["../x", "/x", "b/../../x", "", "."])
    def test_links_out_of_the_cache_are_refused(self, target):
        with pytest.raises(Failure):
            LinkEntry(RelPath("link"), target)

    @pytest.mark.parametrize("target", ["../token", "../.zimage-syncd/lock", "../hub/.locks/x", "../hub/stored_tokens"])
    def test_links_to_secrets_and_locks_are_refused(self, target):
        with pytest.raises(ManifestInvalid, match="no snapshot contains"):
            LinkEntry(RelPath("hub/link"), target)

    def test_pointers_are_bounded_text(self):
        PointerEntry(RelPath("hub/refs/main"), "")
        with pytest.raises(ManifestInvalid):
            PointerEntry(RelPath("hub/refs/main"), "\ud800")
        with pytest.raises(ManifestInvalid):
            PointerEntry(RelPath("hub/refs/main"), "x" * (MAX_POINTER_BYTES + 1))

    def test_the_last_chunk_is_what_is_left(self):
        entry = FileEntry(RelPath("a"), CHUNK_BYTES + 7, 0o644, "0" * 64, ("1" * 64,) * 2)
        assert [entry.chunk_length(index) for index in range(2)] == [CHUNK_BYTES, 7]


class TestTogether:
    def of(self, *entries):
        return Manifest(key_of(), Proof.PROVED, tuple(entries))

    def test_an_empty_manifest_is_refused(self):
        with pytest.raises(ManifestInvalid, match="0 entries"):
            self.of()

    def test_order_and_duplicates_are_refused(self):
        one, two = file_entry("a", b""), file_entry("b", b"")
        for entries in ([two, one], [one, one], [one, PointerEntry(RelPath("a"), "")]):
            with pytest.raises(ManifestInvalid, match="sorted"):
                self.of(*entries)

    @pytest.mark.parametrize(
        "above", [file_entry("a", b""), LinkEntry(RelPath("a"), "c"), PointerEntry(RelPath("a"), "")]
    )
    def test_nothing_lies_below_what_is_no_directory(self, above):
        between = file_entry("a!", b"")
        with pytest.raises(ManifestInvalid, match="below"):
            self.of(above, between, file_entry("a/deep/b", b""))

    @pytest.mark.parametrize(
        "path",
        [
            "token",
            "hub/token",
            "stored_tokens",
            "credentials/session",
            "xet/cache",
            "hub/.locks/x.lock",
            ".zimage-syncd/ledger.sqlite",
            "hub/models--a--b/blobs/x.incomplete",
            "hub/models--a--b/blobs/.zimage-syncd-0.partial",
            "models/a--b/.lock/x",
            "models/a/b/._____temp/x",
        ],
    )
    def test_secrets_locks_and_unfinished_files_are_never_part_of_one(self, path):
        with pytest.raises(ManifestInvalid, match="never part of a snapshot"):
            self.of(file_entry(path, b""))
        with pytest.raises(ManifestInvalid, match="never part of a snapshot"):
            self.of(PointerEntry(RelPath(path), ""))

    def test_a_repositorys_own_token_file_is_payload(self):
        self.of(file_entry("hub/models--a--b/snapshots/c/token", b""))

    def test_equal_content_has_an_equal_id_and_any_difference_shows(self):
        assert manifest_with({"hub/a": b"1"}).id == manifest_with({"hub/a": b"1"}).id
        others = [
            manifest_with({"hub/a": b"2"}),
            manifest_with({"hub/b": b"1"}),
            manifest_with({"hub/a": b"1"}, key_of("acme/other")),
            Manifest(key_of(), Proof.UNPROVED, manifest_with({"hub/a": b"1"}).entries),
            self.of(file_entry("hub/a", b"1", mode=0o600)),
        ]
        assert len({manifest.id for manifest in [manifest_with({"hub/a": b"1"}), *others]}) == 6


def many_entries(count: int) -> Manifest:
    digest = hashlib.sha256(b"x").hexdigest()
    made = [
        FileEntry(RelPath(f"data/{number // 1000:04}/{number:07}"), 1, 0o644, digest, (digest,))
        for number in range(count)
    ]
    return Manifest(key_of(), Proof.PROVED, tuple(made))


def test_the_canonical_form_is_what_the_json_library_writes() -> None:
    made = Manifest(
        key_of(),
        Proof.UNPROVED,
        (
            file_entry("a/ü\udcff", b"x"),
            file_entry("b/empty", b""),
            LinkEntry(RelPath('c/"quoted"'), "../a/ü"),
            PointerEntry(RelPath("d/ref"), 'text "\\\n\x00', 0o600),
        ),
    )

    document = json.loads(made.to_bytes())

    assert json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n" == made.to_bytes()


def test_the_id_is_computed_once_and_a_manifest_that_was_read_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = many_entries(3000)
    data, expected = made.to_bytes(), made.id
    read = Manifest.from_bytes(data, expected)
    monkeypatch.setattr(Manifest, "pieces", lambda _self: pytest.fail("it was written again"))

    assert made.id == read.id == expected
    assert Manifest.__hash__(made) == Manifest.__hash__(read)
    assert made.files is made.files


def test_reading_a_manifest_takes_little_more_than_what_it_leaves() -> None:
    """With 100,000 files each second copy of its content is tens of megabytes."""
    data = many_entries(20_000).to_bytes()
    tracemalloc.start()
    try:
        read = Manifest.from_bytes(data)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(read.entries) == 20_000
    assert peak - left < 0.8 * len(data)  # two windows, and no copy of the whole


@pytest.mark.parametrize(
    "entry", ["{}", "[]", '"kind"', "null", '{"path":"a"}', '{"kind":[{"kind":"link"}],"path":"a"}']
)
def test_an_entry_that_is_none_is_refused(entry: str) -> None:
    good = many_entries(1).to_bytes().decode()
    start, end = good.index("[{") + 1, good.index("}],") + 1

    with pytest.raises(ManifestInvalid):
        Manifest.from_bytes((good[:start] + entry + good[end:]).encode())


@pytest.mark.parametrize("window_bytes", [1, 7, 100, 300, 301, 302, 1000, 2**20])
def test_wherever_a_window_ends_the_same_is_read(window_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    long = PointerEntry(RelPath("trees/list.json"), "],[{}\\" * 500)
    made = Manifest(key_of(), Proof.PROVED, (*many_entries(20).entries, long))
    data = made.to_bytes()
    monkeypatch.setattr(manifest_module, "_WINDOW_BYTES", window_bytes)
    monkeypatch.setattr(manifest_json, "_WINDOW_BYTES", window_bytes)

    assert Manifest.from_bytes(data) == made
    for damaged in (data[:-1], data[:-2], data + b" ", data.replace(b"}],", b"}] ,"), data.replace(b"},{", b"}, {")):
        with pytest.raises(ManifestInvalid):
            Manifest.from_bytes(damaged)

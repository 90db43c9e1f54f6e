"""Keys: whatever users call things, each name has one key, and only that key parses back to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.manifests import key_of
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType
from zimage_syncd.stores import keys
from zimage_syncd.stores.archive_keys import (
    ManifestKey,
    RefKey,
    blob_key,
    blob_of,
    decode_part,
    encode_part,
    intent_key,
    is_intent,
    is_prune,
)

ID = "ab" * 32

file_names = st.binary(min_size=1, max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(file_names)
def test_any_name_comes_back_from_its_part(text):
    part = encode_part(text)
    assert decode_part(part) == text
    assert part.isascii()
    assert "/" not in part
    assert RelPath(part) == part, "one part of a path, neither . nor .."


@given(st.text(max_size=60))
def test_whatever_a_store_lists_is_a_part_of_this_form_or_none(part):
    text = decode_part(part)
    assert text is None or text == "" or encode_part(text) == part


@given(file_names, file_names)
def test_different_names_have_different_parts(first, second):
    assert (encode_part(first) == encode_part(second)) == (first == second)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("main", "main"),
        ("refs/pr/1", "refs%2Fpr%2F1"),
        ("50%", "50%25"),
        (".", "%2E"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("v1.0~a_b-c", "v1.0~a_b-c"),
        ("ü ", "%C3%BC%20"),
        ("\udcff", "%FF"),
    ],
)
def test_parts_are_percent_encoded_with_upper_case_digits(text, part):
    assert encode_part(text) == part


@pytest.mark.parametrize("text", ["", "\ud800", "\udcc3\udca9", "ü" * 43, "x" * 256])
def test_what_has_no_key_is_refused(text):
    with pytest.raises(UnsafePath):
        encode_part(text)


@pytest.mark.parametrize("part", ["%", "%2f", "%41", "a b", "ü", ".", "..", ".x", "%E9x%2e", "a%"])
def test_other_spellings_are_not_taken(part):
    assert decode_part(part) is None


@given(
    st.sampled_from(LayoutName),
    st.sampled_from(RepoType),
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}(/[A-Za-z0-9][A-Za-z0-9_-]{0,20})?", fullmatch=True),
    st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=20),
    st.integers(1, 10**12 - 1),
)
def test_references_and_manifests_come_back_from_their_keys(layout, kind, repo, name, sequence):
    ref = RefKey(key_of(repo, name or "main", layout, kind), sequence, ID)
    assert RefKey.parse(ref.key) == ref
    assert keys.is_key(ref.key)
    place = ManifestKey(layout, RepoId(kind, repo), ID)
    assert ManifestKey.parse(place.key) == place
    assert ManifestKey.parse(ref.key) is None
    assert RefKey.parse(place.key) is None


@given(st.text(max_size=100))
def test_no_foreign_name_breaks_the_parsers(key):
    for prefix in ("", "refs/", "refs/huggingface/model/a/", "manifests/huggingface/model/", "blobs/"):
        assert RefKey.parse(prefix + key) is None
        assert ManifestKey.parse(prefix + key) is None
        assert blob_of(prefix + key) is None


def test_references_of_equal_number_sort_by_name_like_their_keys():
    refs = [RefKey(key_of(), number, f"{digit:x}" * 64) for number in (1, 2, 10) for digit in range(16)]
    assert sorted(refs, key=lambda ref: ref.order) == sorted(refs, key=lambda ref: ref.key)


def test_a_model_and_a_dataset_of_one_name_lie_apart():
    model, dataset = key_of(kind=RepoType.MODEL), key_of(kind=RepoType.DATASET)
    assert RefKey(model, 1, ID).key.startswith("refs/huggingface/model/acme%2Fpainter/")
    assert RefKey(dataset, 1, ID).key.startswith("refs/huggingface/dataset/acme%2Fpainter/")


def test_blobs_lie_under_their_digest():
    assert blob_key(ID) == f"blobs/ab/{ID}"
    assert blob_of(f"blobs/ab/{ID}") == ID
    assert blob_of(f"blobs/ac/{ID}") is None
    assert blob_of(f"blobs/{ID}") is None


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", ID.upper(), ID + "\n", "ab" * 31, "٠" * 64])
def test_what_is_no_digest_is_no_blob(sha256):
    with pytest.raises(UnsafePath):
        blob_key(sha256)
    assert blob_of(f"blobs/{sha256[:2]}/{sha256}") is None


def test_intents_and_prunes_are_known_by_their_names():
    assert is_intent(intent_key("gpu-7", "0" * 32))
    assert not is_intent("intents/gpu-7.json")
    assert not is_intent(f"intents/a/gpu-7-{'0' * 32}.json")
    assert is_prune(f"prune/{'0' * 32}.json")
    assert not is_prune("prune/README")

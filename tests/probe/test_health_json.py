"""The documents that cross the probe's process border."""

import json
from dataclasses import asdict, replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pictures import FACTS, reference
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, Placement, WhenBusy
from zimage_syncd.model.health_json import (
    MAX_DETAIL_CHARS,
    MAX_REQUEST_BYTES,
    MAX_RESULT_BYTES,
    HealthDocumentInvalid,
    decode_request,
    decode_result,
    encode_request,
    encode_result,
)
from zimage_syncd.model.picture import FINGERPRINT_BYTES, Comparison, Conditions, Likeness, PictureFacts, Reference
from zimage_syncd.model.picture_json import MAX_REFERENCE_BYTES, decode_reference, encode_reference
from zimage_syncd.model.snapshot import LayoutName

REQUEST = HealthRequest(directory="/cache/x", layout="huggingface", repo="a/b", revision="main")
RESULT = HealthResult(HealthOutcome.OK, HealthLevel.LOAD, timings_s=(("load", 1.5),), versions=(("torch", "2.13"),))


def texts(longest: int):
    # U+DC80 to U+DCFF are what Python makes of file names that are not UTF-8 (PEP 383).
    escapes = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
    return st.text(st.characters(exclude_characters="\0") | escapes, max_size=min(longest, 60))


DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
TIMES = st.datetimes(timezones=st.just(UTC))
FRACTIONS = st.floats(0, 1)
FACTS_OF_ANY = st.builds(
    PictureFacts,
    mean=st.tuples(FRACTIONS, FRACTIONS, FRACTIONS),
    deviation=st.tuples(FRACTIONS, FRACTIONS, FRACTIONS),
    fingerprint=st.binary(min_size=FINGERPRINT_BYTES, max_size=FINGERPRINT_BYTES).map(bytes.hex),
    pixels_sha256=DIGESTS,
)
NAMES = texts(60).filter(bool)
PICTURES = st.just("") | texts(4000).map(lambda text: f"/{text}.png")
REFERENCES = st.builds(
    Reference,
    manifest_id=DIGESTS,
    conditions=st.builds(
        Conditions,
        prompt=NAMES,
        seed=st.integers(0, 2**63 - 1),
        size_px=st.integers(4, 128).map(lambda count: 16 * count),
        steps=st.integers(1, 50),
        dtype=NAMES,
        device=NAMES,
        versions=st.lists(st.tuples(texts(60), texts(60)), max_size=8).map(tuple),
    ),
    facts=FACTS_OF_ANY,
    picture_sha256=DIGESTS,
    made_at=TIMES,
    picture=PICTURES,
)
COMPARISONS = st.builds(
    Comparison,
    likeness=st.sampled_from(Likeness),
    distance=FRACTIONS,
    reference_made_at=TIMES,
    side_by_side=PICTURES,
)

REQUESTS = st.builds(
    HealthRequest,
    directory=texts(4000).map(lambda text: f"/{text}"),
    layout=st.sampled_from(LayoutName).map(str),
    repo=texts(300),
    revision=texts(300),
    level=st.sampled_from(HealthLevel),
    device=st.sampled_from(["auto", "cuda", "cpu"]),
    size_px=st.integers(4, 128).map(lambda count: 16 * count),
    steps=st.integers(1, 50),
    seed=st.integers(0, 2**63 - 1),
    prompt=st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=60),
    when_busy=st.sampled_from(WhenBusy),
    wait_s=st.floats(0, 10**8),
    picture=PICTURES,
    references=st.lists(REFERENCES, max_size=2).map(tuple),
    side_by_side=PICTURES,
)

RESULTS = st.builds(
    HealthResult,
    outcome=st.sampled_from(HealthOutcome),
    level=st.sampled_from([level for level in HealthLevel if level is not HealthLevel.AUTO]),
    detail=texts(4000),
    device=texts(300),
    dtype=texts(300),
    timings_s=st.lists(st.tuples(texts(60), st.floats(0, 10**8)), max_size=8).map(tuple),
    peak_memory_bytes=st.integers(0, 2**50),
    checked_files=st.integers(0, 2**20),
    picture=texts(4000),
    versions=st.lists(st.tuples(texts(60), texts(60)), max_size=8).map(tuple),
    placement=st.sampled_from(Placement),
    checked_tensors=st.integers(0, 2**20),
    drawn_px=st.integers(0, 2048),
    drawn_steps=st.integers(0, 50),
    needed_memory_bytes=st.integers(0, 2**50),
    picture_facts=st.none() | FACTS_OF_ANY,
    comparison=st.none() | COMPARISONS,
)


@given(REQUESTS)
def test_any_request_is_read_back_equal(request_):
    assert decode_request(encode_request(request_)) == request_


@given(RESULTS)
def test_any_result_is_read_back_equal(result):
    assert decode_result(encode_result(result)) == result


@given(REFERENCES)
def test_any_reference_is_read_back_equal_but_for_the_place_of_its_picture(kept):
    document = encode_reference(kept)
    assert "picture" not in json.loads(document)
    assert decode_reference(document, "/here.png") == replace(kept, picture="/here.png")


def test_the_longest_request_fits():
    wide = {"versions": (("\U0001f5fc" * 100, "\U0001f5fc" * 100),) * 8, "prompt": "\U0001f5fc" * 2000}
    place = "/" + "\U0001f5fc" * 4091 + ".png"
    kept = replace(reference(dtype="\U0001f5fc" * 300, device="\U0001f5fc" * 300, **wide), picture=place)
    assert len(encode_reference(kept)) < MAX_REFERENCE_BYTES
    longest = HealthRequest(
        directory="/" + "\U0001f5fc" * 4095,
        layout="modelscope-hub-legacy",
        repo="\U0001f5fc" * 300,
        revision="\U0001f5fc" * 300,
        prompt="\U0001f5fc" * 2000,
        picture=place,
        references=(kept,) * 16,
        side_by_side=place,
    )
    assert decode_request(encode_request(longest)) == longest


def test_a_longer_detail_is_cut():
    result = HealthResult(HealthOutcome.CRASHED, HealthLevel.LOAD, detail="x" * (MAX_DETAIL_CHARS + 5))
    assert decode_result(encode_result(result)).detail == "x" * MAX_DETAIL_CHARS


def as_json(value):
    return json.loads(json.dumps(asdict(value), default=lambda at: at.isoformat()))


A_REFERENCE = as_json(reference())

HOSTILE_REQUESTS = {
    "directory": ["relative", "", 1, None, "/a\0b", "/" + "x" * 4096, ["/"]],
    "layout": ["", "huggingface2", None],
    "level": ["everything", "", 3, ["auto"]],
    "device": ["", "cuda:1", "gpu", None],
    "size_px": [0, 48, 63, 65, 2064, -64, 512.0, "512", True, None],
    "steps": [0, 51, True, 4.0],
    "seed": [-1, 2**63, 1.5],
    "prompt": ["", "x" * 2001, 5, "a\0"],
    "when_busy": ["", "never", 1],
    "wait_s": [-1, "5", True, None, 10**9],
    "picture": ["relative.png", "/etc/passwd", 0, "/" + "x" * 4096 + ".png"],
    "side_by_side": ["relative.png", "/etc/passwd", None],
    "references": [None, {}, [1], [{}], [A_REFERENCE] * 17],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in HOSTILE_REQUESTS.items() for v in values])
def test_a_request_with_a_value_out_of_range_is_refused_by_its_key(key, value):
    with pytest.raises(HealthDocumentInvalid) as caught:
        decode_request(json.dumps({**asdict(REQUEST), key: value}).encode())
    assert key in str(caught.value)


HOSTILE_REFERENCES = {
    "manifest_id": ["", "a" * 63, "A" * 64, None],
    "picture_sha256": ["", 5],
    "made_at": ["", "2026-11-24T03:00:00", 5, "yesterday"],
    "picture": ["relative.png", "/etc/passwd"],
    "facts": [None, [], {}],
    "conditions": [None, {}],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in HOSTILE_REFERENCES.items() for v in values])
def test_a_reference_with_a_value_out_of_range_is_refused_by_its_key(key, value):
    with pytest.raises(HealthDocumentInvalid) as caught:
        decode_request(json.dumps({**asdict(REQUEST), "references": [{**A_REFERENCE, key: value}]}).encode())
    assert key in str(caught.value)


HOSTILE_PARTS = {
    ("conditions", "size_px"): [48, 65],
    ("conditions", "versions"): [[["a", "b"]] * 9, [["a", "x" * 101]], [["a", 1]], None],
    ("conditions", "device"): ["", None],
    ("facts", "mean"): [[0, 1], [0, 1, 2], [0, 1, True], 5, [0, 0, -0.1]],
    ("facts", "fingerprint"): ["", "ab", "zz" * FINGERPRINT_BYTES, "AB" * FINGERPRINT_BYTES],
    ("facts", "more"): [1],
}


@pytest.mark.parametrize(("place", "value"), [(k, v) for k, values in HOSTILE_PARTS.items() for v in values])
def test_a_part_of_a_reference_out_of_range_is_refused_by_its_key(place, value):
    part, key = place
    values = {**as_json(reference()), part: {**A_REFERENCE[part], key: value}}
    del values["picture"]
    with pytest.raises(HealthDocumentInvalid) as caught:
        decode_reference(json.dumps(values).encode())
    assert key in str(caught.value)


def test_a_reference_that_is_too_large_is_refused_unread():
    with pytest.raises(HealthDocumentInvalid, match="larger than"):
        decode_reference(b" " * (MAX_REFERENCE_BYTES + 1))


A_COMPARISON = {
    "likeness": "same",
    "distance": 0.0,
    "reference_made_at": "2026-11-24T03:00:00+00:00",
    "side_by_side": "",
}

HOSTILE_RESULTS = {
    "outcome": ["", "good", None],
    "level": ["auto", "", 1],
    "detail": [None, "x" * (MAX_DETAIL_CHARS + 1)],
    "timings_s": [{}, [["load"]], [["load", "1"]], [["load", -1]], [["load", True]], [[1, 1]], [["load", 10**400]]],
    "peak_memory_bytes": [-1, 1.5, True],
    "placement": ["gpu", None],
    "needed_memory_bytes": [-1, 0.5],
    "versions": [[["torch", 2]], "torch", [["a", "b"]] * 65],
    "picture_facts": [{}, [], {**asdict(FACTS), "more": 1}],
    "comparison": [{}, {**A_COMPARISON, "distance": 1.5}, {**A_COMPARISON, "likeness": "alike"}],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in HOSTILE_RESULTS.items() for v in values])
def test_a_result_with_a_value_out_of_range_is_refused_by_its_key(key, value):
    with pytest.raises(HealthDocumentInvalid) as caught:
        decode_result(json.dumps({**asdict(RESULT), key: value}).encode())
    assert key in str(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"1" * 5000,
        b'{"outcome": "ok", "outcome": "ok"}',
        json.dumps({**asdict(RESULT), "more": 1}).encode(),
        json.dumps({**asdict(RESULT), "peak_memory_bytes": float("nan")}).encode(),
        json.dumps({key: value for key, value in asdict(RESULT).items() if key != "detail"}).encode(),
        encode_result(RESULT) + b"\n{}",
        b" " * (MAX_RESULT_BYTES + 1),
    ],
    ids=range(14),
)
def test_what_is_no_document_is_refused(document):
    with pytest.raises(HealthDocumentInvalid):
        decode_result(document)
    with pytest.raises(HealthDocumentInvalid):
        decode_request(document)


def test_a_too_long_request_is_refused_unread():
    with pytest.raises(HealthDocumentInvalid, match="larger than"):
        decode_request(b" " * (MAX_REQUEST_BYTES + 1))


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(document):
    with pytest.raises(HealthDocumentInvalid):
        decode_result(document)

"""The documents that cross the probe's process border."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from zimage_syncd.model.snapshot import LayoutName

REQUEST = HealthRequest(directory="/cache/x", layout="huggingface", repo="a/b", revision="main")
RESULT = HealthResult(HealthOutcome.OK, HealthLevel.LOAD, timings_s=(("load", 1.5),), versions=(("torch", "2.13"),))


def texts(longest: int):
    # U+DC80 to U+DCFF are what Python makes of file names that are not UTF-8 (PEP 383).
    escapes = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
    return st.text(st.characters(exclude_characters="\0") | escapes, max_size=min(longest, 60))


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
    picture=st.just("") | texts(4000).map(lambda text: f"/{text}.png"),
    when_busy=st.sampled_from(WhenBusy),
    wait_s=st.floats(0, 10**8),
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
    needed_memory_bytes=st.integers(0, 2**50),
)


@given(REQUESTS)
def test_any_request_is_read_back_equal(request_):
    assert decode_request(encode_request(request_)) == request_


@given(RESULTS)
def test_any_result_is_read_back_equal(result):
    assert decode_result(encode_result(result)) == result


def test_the_longest_request_fits():
    longest = HealthRequest(
        directory="/" + "\U0001f5fc" * 4095,
        layout="modelscope-hub-legacy",
        repo="\U0001f5fc" * 300,
        revision="\U0001f5fc" * 300,
        prompt="\U0001f5fc" * 2000,
        picture="/" + "\U0001f5fc" * 4091 + ".png",
    )
    assert decode_request(encode_request(longest)) == longest


def test_a_longer_detail_is_cut():
    result = HealthResult(HealthOutcome.CRASHED, HealthLevel.LOAD, detail="x" * (MAX_DETAIL_CHARS + 5))
    assert decode_result(encode_result(result)).detail == "x" * MAX_DETAIL_CHARS


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
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in HOSTILE_REQUESTS.items() for v in values])
def test_a_request_with_a_value_out_of_range_is_refused_by_its_key(key, value):
    with pytest.raises(HealthDocumentInvalid) as caught:
        decode_request(json.dumps({**asdict(REQUEST), key: value}).encode())
    assert key in str(caught.value)


HOSTILE_RESULTS = {
    "outcome": ["", "good", None],
    "level": ["auto", "", 1],
    "detail": [None, "x" * (MAX_DETAIL_CHARS + 1)],
    "timings_s": [{}, [["load"]], [["load", "1"]], [["load", -1]], [["load", True]], [[1, 1]], [["load", 10**400]]],
    "peak_memory_bytes": [-1, 1.5, True],
    "placement": ["gpu", None],
    "needed_memory_bytes": [-1, 0.5],
    "versions": [[["torch", 2]], "torch", [["a", "b"]] * 65],
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

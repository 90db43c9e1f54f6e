"""What is remembered of a health check is read back, also by another version."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support.pictures import AT, FACTS, record
from zimage_syncd.model.checked_json import HealthDocumentInvalid
from zimage_syncd.model.health import HealthLevel, HealthOutcome
from zimage_syncd.model.health_record import MAX_RECORD_BYTES, decode_record, encode_record
from zimage_syncd.model.picture import Comparison, Likeness

FULL = record(picture_facts=FACTS, comparison=Comparison(Likeness.SIMILAR, 0.01, AT), versions=(("torch", "2.13"),))


def test_a_record_is_read_back_equal() -> None:
    assert decode_record(encode_record(FULL)) == FULL
    unrecorded = replace(FULL, manifest_id="")
    assert decode_record(encode_record(unrecorded)) == unrecorded


def test_what_a_later_version_tells_besides_is_passed_over() -> None:
    values = json.loads(encode_record(FULL))
    values["more"] = 1
    values["result"]["more"] = [2]
    assert decode_record(json.dumps(values).encode()) == FULL


def test_what_an_earlier_version_did_not_tell_is_empty() -> None:
    values = json.loads(encode_record(FULL))
    del values["result"]["comparison"]
    del values["result"]["picture_facts"]
    assert decode_record(json.dumps(values).encode()) == replace(
        FULL, result=replace(FULL.result, comparison=None, picture_facts=None)
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "zimage-syncd/health-record/2"),
        ("result", None),
        ("result", {"outcome": "splendid"}),
        ("at", "yesterday"),
        ("snapshot", ""),
        ("manifest_id", "short"),
        ("size_px", 65),
        ("steps", 0),
    ],
)
def test_a_value_out_of_range_makes_it_no_record(key: str, value: object) -> None:
    with pytest.raises(HealthDocumentInvalid):
        decode_record(json.dumps({**json.loads(encode_record(FULL)), key: value}).encode())


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b" " * (MAX_RECORD_BYTES + 1)], ids=range(4))
def test_what_is_no_document_is_no_record(document: bytes) -> None:
    with pytest.raises(HealthDocumentInvalid):
        decode_record(document)


def test_times_are_those_of_the_stages() -> None:
    assert (FULL.total_s, FULL.step_s) == (10.0, 0.5)
    bare = record(timings_s=())
    assert (bare.total_s, bare.step_s) == (None, None)


@pytest.mark.parametrize(
    ("changes", "drawn"),
    [
        ({}, True),
        ({"outcome": HealthOutcome.DIFFERENT_PICTURE}, False),
        ({"level": HealthLevel.LOAD}, False),
    ],
)
def test_only_a_good_picture_counts_as_drawn(changes: dict[str, object], drawn: bool) -> None:
    assert record(**changes).is_drawn is drawn

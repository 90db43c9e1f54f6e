"""The JSON in which a health request and its result cross the probe's process border.

Both sides use it and neither trusts the other: sizes, types and ranges are checked; unknown, missing and doubled keys
are refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from zimage_syncd.model.checked_json import HealthDocumentInvalid, Values, parse
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, Placement, WhenBusy
from zimage_syncd.model.picture import MAX_REFERENCES
from zimage_syncd.model.picture_json import (
    MAX_NAME_CHARS,
    MAX_PATH_CHARS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    plain_time,
    read_comparison,
    read_facts,
    read_references,
    size_px,
)
from zimage_syncd.model.snapshot import LayoutName

__all__ = ["HealthDocumentInvalid", "decode_request", "decode_result", "encode_request", "encode_result"]

MAX_REQUEST_BYTES = 2**21
"""More than 16 references and the request itself take, with the longest prompts and paths, every character escaped."""

MAX_RESULT_BYTES = 2**20
"""A result is a few kilobytes; what is larger is not one."""

MAX_DETAIL_CHARS = 4000

RESULT_KEYS = frozenset(field.name for field in fields(HealthResult))
_REQUEST_KEYS = frozenset(field.name for field in fields(HealthRequest))


def encode_request(request: HealthRequest) -> bytes:
    """The request as one JSON document, ASCII only."""
    return json.dumps(asdict(request), default=plain_time).encode()


def decode_request(document: bytes) -> HealthRequest:
    """Reads and validates a request.

    Raises:
        HealthDocumentInvalid: it is no such document, or a value is out of its range.
    """
    read = parse("health request", document, MAX_REQUEST_BYTES, _REQUEST_KEYS)
    request = HealthRequest(
        directory=read.text("directory", 1, MAX_PATH_CHARS),
        layout=read.text("layout", 1, MAX_NAME_CHARS),
        repo=read.text("repo", 0, MAX_NAME_CHARS),
        revision=read.text("revision", 0, MAX_NAME_CHARS),
        level=read.choice("level", HealthLevel),
        device=read.text("device", 1, 8),
        size_px=size_px(read),
        steps=read.integer("steps", 1, 50),
        seed=read.integer("seed", 0, MAX_SEED),
        prompt=read.text("prompt", 1, MAX_PROMPT_CHARS),
        when_busy=read.choice("when_busy", WhenBusy),
        wait_s=read.duration("wait_s"),
        picture=read.path("picture", MAX_PATH_CHARS, ".png"),
        references=read_references(read, "references", MAX_REFERENCES),
        side_by_side=read.path("side_by_side", MAX_PATH_CHARS, ".png"),
    )
    _check_request(read, request)
    return request


def encode_result(result: HealthResult) -> bytes:
    """The result as one JSON document, ASCII only; a longer detail is cut."""
    values = asdict(result)
    values["detail"] = result.detail[:MAX_DETAIL_CHARS]
    return json.dumps(values, allow_nan=False, default=plain_time).encode()


def decode_result(document: bytes) -> HealthResult:
    """Reads and validates a result.

    Raises:
        HealthDocumentInvalid: it is no such document, or a value is out of its range.
    """
    return read_result(parse("health result", document, MAX_RESULT_BYTES, RESULT_KEYS))


def read_result(read: Values) -> HealthResult:
    """A result out of the object that holds it.

    Raises:
        HealthDocumentInvalid: a value is out of its range.
    """
    level = read.choice("level", HealthLevel)
    if level is HealthLevel.AUTO:
        raise read.invalid("level", "is what was done, never auto")
    return HealthResult(
        outcome=read.choice("outcome", HealthOutcome),
        level=level,
        detail=read.text("detail", 0, MAX_DETAIL_CHARS),
        device=read.text("device", 0, MAX_NAME_CHARS),
        dtype=read.text("dtype", 0, MAX_NAME_CHARS),
        timings_s=tuple((name, read.seconds("timings_s", value)) for name, value in read.pairs("timings_s")),
        peak_memory_bytes=read.integer("peak_memory_bytes", 0, MAX_SEED),
        checked_files=read.integer("checked_files", 0, MAX_SEED),
        checked_tensors=read.integer("checked_tensors", 0, MAX_SEED),
        picture=read.text("picture", 0, MAX_PATH_CHARS),
        versions=tuple((name, read.string("versions", value)) for name, value in read.pairs("versions")),
        placement=read.choice("placement", Placement),
        needed_memory_bytes=read.integer("needed_memory_bytes", 0, MAX_SEED),
        drawn_px=read.integer("drawn_px", 0, MAX_SEED),
        drawn_steps=read.integer("drawn_steps", 0, MAX_SEED),
        picture_facts=read_facts(read, "picture_facts"),
        comparison=read_comparison(read, "comparison"),
    )


def _check_request(read: Values, request: HealthRequest) -> None:
    """What goes beyond types and ranges."""
    if not request.directory.startswith("/"):
        raise read.invalid("directory", "must be an absolute path")
    if request.layout not in set(LayoutName):
        raise read.invalid("layout", f"must be one of {', '.join(LayoutName)}")
    if request.device not in {"auto", "cuda", "cpu"}:
        raise read.invalid("device", "must be auto, cuda or cpu")

"""The JSON in which a health request and its result cross the probe's process border.

Both sides use it and neither trusts the other: sizes, types and ranges are checked; unknown, missing and doubled keys
are refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any, TypeVar

from zimage_syncd.model.failures import Failure
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, Placement, WhenBusy
from zimage_syncd.model.snapshot import LayoutName

MAX_REQUEST_BYTES = 2**18
"""More than two longest paths and a longest prompt take when every character is escaped (12 bytes each)."""

MAX_RESULT_BYTES = 2**20
"""A result is a few kilobytes; what is larger is not one."""

MAX_PATH_CHARS = 4096
MAX_NAME_CHARS = 300
MAX_PROMPT_CHARS = 2000
MAX_DETAIL_CHARS = 4000
MAX_PAIRS = 64
MAX_SEED = 2**63 - 1
MAX_SECONDS = 10**9

_E = TypeVar("_E", HealthLevel, HealthOutcome, WhenBusy, Placement)


class HealthDocumentInvalid(Failure):
    """A health request or result that cannot be read."""


def encode_request(request: HealthRequest) -> bytes:
    """The request as one JSON document, ASCII only."""
    return json.dumps(asdict(request)).encode()


def decode_request(document: bytes) -> HealthRequest:
    """Reads and validates a request.

    Raises:
        HealthDocumentInvalid: it is no such document, or a value is out of its range.
    """
    read = _Reader("health request", _parse("health request", document, MAX_REQUEST_BYTES, HealthRequest))
    request = HealthRequest(
        directory=read.text("directory", 1, MAX_PATH_CHARS),
        layout=read.text("layout", 1, MAX_NAME_CHARS),
        repo=read.text("repo", 0, MAX_NAME_CHARS),
        revision=read.text("revision", 0, MAX_NAME_CHARS),
        level=read.choice("level", HealthLevel),
        device=read.text("device", 1, 8),
        size_px=read.integer("size_px", 64, 2048),
        steps=read.integer("steps", 1, 50),
        seed=read.integer("seed", 0, MAX_SEED),
        prompt=read.text("prompt", 1, MAX_PROMPT_CHARS),
        picture=read.text("picture", 0, MAX_PATH_CHARS),
        when_busy=read.choice("when_busy", WhenBusy),
        wait_s=read.duration("wait_s"),
    )
    _check_request(read, request)
    return request


def encode_result(result: HealthResult) -> bytes:
    """The result as one JSON document, ASCII only; a longer detail is cut."""
    values = asdict(result)
    values["detail"] = result.detail[:MAX_DETAIL_CHARS]
    return json.dumps(values, allow_nan=False).encode()


def decode_result(document: bytes) -> HealthResult:
    """Reads and validates a result.

    Raises:
        HealthDocumentInvalid: it is no such document, or a value is out of its range.
    """
    read = _Reader("health result", _parse("health result", document, MAX_RESULT_BYTES, HealthResult))
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
    )


def _check_request(read: _Reader, request: HealthRequest) -> None:
    """What goes beyond types and ranges."""
    if not request.directory.startswith("/"):
        raise read.invalid("directory", "must be an absolute path")
    if request.layout not in set(LayoutName):
        raise read.invalid("layout", f"must be one of {', '.join(LayoutName)}")
    if request.device not in {"auto", "cuda", "cpu"}:
        raise read.invalid("device", "must be auto, cuda or cpu")
    if request.size_px % 16:
        raise read.invalid("size_px", "must be a multiple of 16 px")
    if request.picture and not (request.picture.startswith("/") and request.picture.endswith(".png")):
        raise read.invalid("picture", "must be an absolute path that ends in .png")


def _parse(what: str, document: bytes, limit_bytes: int, kind: type[HealthRequest | HealthResult]) -> dict[str, Any]:
    if len(document) > limit_bytes:
        raise HealthDocumentInvalid(what, f"is larger than {limit_bytes} bytes")
    try:
        values = json.loads(document.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HealthDocumentInvalid(what, f"is not JSON: {str(error)[:200]}") from error
    if not isinstance(values, dict):
        raise HealthDocumentInvalid(what, "is not a JSON object")
    known = {field.name for field in fields(kind)}
    if set(values) != known:
        raise HealthDocumentInvalid(what, f"unknown or missing keys: {sorted(known ^ set(values))!r:.200}")
    return values


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class _Reader:
    """Takes values of one document, each checked for its type and range."""

    def __init__(self, what: str, values: dict[str, Any]) -> None:
        self._what = what
        self._values = values

    def invalid(self, key: str, reason: str) -> HealthDocumentInvalid:
        """The failure that names a key, with what was found."""
        return HealthDocumentInvalid(f"{self._what}, {key}", f"{reason}; found {self._values[key]!r:.200}")

    def text(self, key: str, shortest: int, longest: int) -> str:
        value = self.string(key, self._values[key])
        if not shortest <= len(value) <= longest or "\0" in value:
            raise self.invalid(key, f"must be {shortest} to {longest} characters without NUL")
        return value

    def string(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.invalid(key, "must be text")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        value = self._values[key]
        if type(value) is not int or not least <= value <= most:
            raise self.invalid(key, f"must be a whole number from {least} to {most}")
        return value

    def seconds(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_SECONDS:
            raise self.invalid(key, f"must be seconds from 0 to {MAX_SECONDS}")
        return float(value)

    def duration(self, key: str) -> float:
        return self.seconds(key, self._values[key])

    def choice(self, key: str, kind: type[_E]) -> _E:
        try:
            return kind(self.string(key, self._values[key]))
        except ValueError as error:
            raise self.invalid(key, f"must be one of {', '.join(kind)}") from error

    def pairs(self, key: str) -> list[tuple[str, object]]:
        """A list of at most 64 pairs, each of a name and something."""
        value = self._values[key]
        if not isinstance(value, list) or len(value) > MAX_PAIRS:
            raise self.invalid(key, f"must be a list of at most {MAX_PAIRS} pairs")
        for pair in value:
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
                raise self.invalid(key, "must hold pairs of a name and a value")
        return [(name, item) for name, item in value]

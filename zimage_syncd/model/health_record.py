"""What is remembered of a health check, one JSON document each: what `status`, the page and the metrics read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from zimage_syncd.model.checked_json import HealthDocumentInvalid, Values, parse_object
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthResult
from zimage_syncd.model.health_json import MAX_RESULT_BYTES, RESULT_KEYS, read_result
from zimage_syncd.model.picture_json import MAX_NAME_CHARS, plain_time, size_px

SCHEMA = "zimage-syncd/health-record/1"

MAX_RECORD_BYTES = MAX_RESULT_BYTES + 2**14

_NAME = "health record"
_DENOISING = "denoising"
_TOTAL = "total"


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """One health check of one snapshot."""

    at: datetime
    """When the probe was asked, UTC."""
    snapshot: str
    """`SnapshotKey` as text."""
    manifest_id: str
    """Of its last good manifest; empty where it was never recorded."""
    size_px: int
    """Asked for: width and height of the picture in pixels."""
    steps: int
    """Asked for: denoising steps."""
    result: HealthResult
    """What the probe answered."""

    @property
    def is_drawn(self) -> bool:
        """Whether a good picture came out, so that its times say something."""
        return self.result.outcome is HealthOutcome.OK and self.result.level is HealthLevel.GENERATE

    @property
    def total_s(self) -> float | None:
        """The probe's time from start to result, in seconds: the time to the first image where one was drawn."""
        return self._stage_s(_TOTAL)

    @property
    def step_s(self) -> float | None:
        """Seconds of one denoising step; None where denoising was not timed on its own."""
        denoising_s = self._stage_s(_DENOISING)
        return None if denoising_s is None else denoising_s / self.steps

    def _stage_s(self, name: str) -> float | None:
        return next((seconds for stage, seconds in self.result.timings_s if stage == name), None)


_KEYS = frozenset(field.name for field in fields(HealthRecord)) | {"schema"}
_DEFAULTS = asdict(HealthResult(HealthOutcome.OK, HealthLevel.FILES))


def encode_record(record: HealthRecord) -> bytes:
    """The record as one JSON document, ASCII only."""
    return json.dumps({"schema": SCHEMA, **asdict(record)}, allow_nan=False, default=plain_time).encode() + b"\n"


def decode_record(document: bytes) -> HealthRecord:
    """Reads and validates a record. One of another version is read as far as it is known.

    Raises:
        HealthDocumentInvalid: it is none, or a value is out of its range.
    """
    values = parse_object(_NAME, document, MAX_RECORD_BYTES)
    if values.get("schema") != SCHEMA or not isinstance(values.get("result"), dict):
        raise HealthDocumentInvalid(_NAME, f"is not of the schema {SCHEMA}")
    # A later version of the probe tells more, an earlier one told less; what is common is checked all the same.
    values["result"] = _known(values["result"])
    read = Values.of(_NAME, {key: value for key, value in values.items() if key in _KEYS}, _KEYS)
    return HealthRecord(
        at=read.time("at"),
        snapshot=read.text("snapshot", 1, 4 * MAX_NAME_CHARS),
        manifest_id="" if read.text("manifest_id", 0, MAX_NAME_CHARS) == "" else read.sha256("manifest_id"),
        size_px=size_px(read),
        steps=read.integer("steps", 1, 50),
        result=read_result(read.nested("result", RESULT_KEYS)),
    )


def _known(result: dict[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in result.items() if key in RESULT_KEYS}
    return {**{key: json.loads(json.dumps(value)) for key, value in _DEFAULTS.items()}, **told}

"""The JSON of references and of what is measured of pictures; each part is checked where it comes in.

A reference is a document of its own on the data disk and in archives (docs/format.md), and a part of a health request.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from datetime import datetime

from zimage_syncd.model.checked_json import Values, parse
from zimage_syncd.model.picture import (
    FINGERPRINT_BYTES,
    MAX_VERSION_CHARS,
    Comparison,
    Conditions,
    Likeness,
    PictureFacts,
    Reference,
)

MAX_PATH_CHARS = 4096
MAX_NAME_CHARS = 300
MAX_PROMPT_CHARS = 2000
MAX_SEED = 2**63 - 1

MAX_REFERENCE_BYTES = 64 * 2**10
"""A prompt of 2000 characters takes 24 kB when each is escaped; everything else together takes less."""

NAME_CHARS = 16
"""Of a reference's name: two of at most 16 do not meet by chance."""

_MAX_VERSIONS = 8
"""Four libraries decide what is drawn; others may come to count."""

_REFERENCE = frozenset(field.name for field in fields(Reference))
_FACTS = frozenset(field.name for field in fields(PictureFacts))
_CONDITIONS = frozenset(field.name for field in fields(Conditions))
_COMPARISON = frozenset(field.name for field in fields(Comparison))


def encode_reference(reference: Reference) -> bytes:
    """The reference as a document of its own, without the place of its picture: ASCII, sorted keys, one line."""
    values = asdict(reference)
    del values["picture"]
    return json.dumps(values, default=plain_time, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def name_of(conditions: Conditions) -> str:
    """What the reference of some conditions is called: the first 16 hexadecimal digits of their JSON's SHA-256.

    The JSON is that of a reference's `conditions`, with sorted keys and no spaces.
    """
    document = json.dumps(asdict(conditions), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()[:NAME_CHARS]


def decode_reference(document: bytes, picture: str = "") -> Reference:
    """Reads and validates such a document.

    Args:
        document: its bytes.
        picture: where its picture lies.

    Raises:
        HealthDocumentInvalid: it is none, or a value is out of its range.
    """
    values = parse("reference", document, MAX_REFERENCE_BYTES, _REFERENCE - {"picture"})
    return replace(_reference(values), picture=picture)


def read_references(values: Values, key: str, most: int) -> tuple[Reference, ...]:
    """The references in a request, with the places of their pictures."""
    found = values.objects(key, most, _REFERENCE)
    return tuple(replace(_reference(item), picture=item.path("picture", MAX_PATH_CHARS, ".png")) for item in found)


def read_facts(values: Values, key: str) -> PictureFacts | None:
    """What was measured of a picture, or null."""
    if values.is_null(key):
        return None
    found = values.nested(key, _FACTS)
    return PictureFacts(
        mean=found.three_fractions("mean"),
        deviation=found.three_fractions("deviation"),
        fingerprint=found.hexadecimal("fingerprint", FINGERPRINT_BYTES),
        pixels_sha256=found.sha256("pixels_sha256"),
    )


def read_comparison(values: Values, key: str) -> Comparison | None:
    """How a picture compares with its reference, or null."""
    if values.is_null(key):
        return None
    found = values.nested(key, _COMPARISON)
    return Comparison(
        likeness=found.choice("likeness", Likeness),
        distance=found.fraction("distance"),
        reference_made_at=found.time("reference_made_at"),
        side_by_side=found.path("side_by_side", MAX_PATH_CHARS, ".png"),
    )


def plain_time(value: object) -> str:
    """For `json.dumps`: a time as ISO 8601.

    Raises:
        TypeError: it is no time.
    """
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a document")


def _reference(values: Values) -> Reference:
    facts = read_facts(values, "facts")
    if facts is None:
        raise values.invalid("facts", "must be an object")
    return Reference(
        manifest_id=values.sha256("manifest_id"),
        conditions=_conditions(values.nested("conditions", _CONDITIONS)),
        facts=facts,
        picture_sha256=values.sha256("picture_sha256"),
        made_at=values.time("made_at"),
    )


def _conditions(values: Values) -> Conditions:
    versions = [(name, values.string("versions", version)) for name, version in values.pairs("versions")]
    if len(versions) > _MAX_VERSIONS or any(len(text) > MAX_VERSION_CHARS for pair in versions for text in pair):
        reason = f"must be at most {_MAX_VERSIONS} pairs of texts of at most {MAX_VERSION_CHARS} characters"
        raise values.invalid("versions", reason)
    return Conditions(
        prompt=values.text("prompt", 1, MAX_PROMPT_CHARS),
        seed=values.integer("seed", 0, MAX_SEED),
        size_px=size_px(values),
        steps=values.integer("steps", 1, 50),
        dtype=values.text("dtype", 1, MAX_NAME_CHARS),
        device=values.text("device", 1, MAX_NAME_CHARS),
        versions=tuple(versions),
    )


def size_px(values: Values) -> int:
    """Width and height of a picture in pixels, a multiple of 16."""
    found = values.integer("size_px", 64, 2048)
    if found % 16:
        raise values.invalid("size_px", "must be a multiple of 16 px")
    return found

"""JSON of an untrusted origin, taken value by value, each checked for its type and range.

Unknown, missing and doubled keys are refused, and so are NaN and infinity.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, TypeVar

from zimage_syncd.model.failures import Failure

MAX_PAIRS = 64
MAX_SECONDS = 10**9

_E = TypeVar("_E", bound=enum.StrEnum)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HealthDocumentInvalid(Failure):
    """A document of the health check that cannot be read: a request, a result, a reference, a record."""


def parse(what: str, document: bytes, limit_bytes: int, known: Collection[str]) -> Values:
    """Reads one object with exactly the known keys.

    Args:
        what: the document's name, for messages.
        document: its bytes.
        limit_bytes: more are not looked at.
        known: its keys.

    Raises:
        HealthDocumentInvalid: it is no such object.
    """
    return Values.of(what, parse_object(what, document, limit_bytes), known)


def parse_object(what: str, document: bytes, limit_bytes: int) -> dict[str, Any]:
    """Reads one object, whatever its keys; the arguments are those of `parse`.

    Raises:
        HealthDocumentInvalid: it is none.
    """
    if len(document) > limit_bytes:
        raise HealthDocumentInvalid(what, f"is larger than {limit_bytes} bytes")
    try:
        values = json.loads(document.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HealthDocumentInvalid(what, f"is not JSON: {str(error)[:200]}") from error
    if not isinstance(values, dict):
        raise HealthDocumentInvalid(what, "is not a JSON object")
    return values


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class Values:
    """The values of one JSON object."""

    def __init__(self, what: str, values: dict[str, Any]) -> None:
        self._what = what
        self._values = values

    @classmethod
    def of(cls, what: str, values: object, known: Collection[str]) -> Values:
        """An object with exactly the known keys.

        Raises:
            HealthDocumentInvalid: it is none.
        """
        if not isinstance(values, dict):
            raise HealthDocumentInvalid(what, "is not a JSON object")
        if set(values) != set(known):
            raise HealthDocumentInvalid(what, f"unknown or missing keys: {sorted(set(known) ^ set(values))!r:.200}")
        return cls(what, values)

    def invalid(self, key: str, reason: str) -> HealthDocumentInvalid:
        """The failure that names a key, with what was found."""
        return HealthDocumentInvalid(f"{self._what}, {key}", f"{reason}; found {self._values[key]!r:.200}")

    def is_null(self, key: str) -> bool:
        """Whether nothing stands there."""
        return self._values[key] is None

    def nested(self, key: str, known: Collection[str]) -> Values:
        """An object in the object."""
        return Values.of(f"{self._what}, {key}", self._values[key], known)

    def objects(self, key: str, most: int, known: Collection[str]) -> list[Values]:
        """A list of at most so many objects."""
        value = self._values[key]
        if not isinstance(value, list) or len(value) > most:
            raise self.invalid(key, f"must be a list of at most {most} objects")
        return [Values.of(f"{self._what}, {key} {number}", item, known) for number, item in enumerate(value)]

    def text(self, key: str, shortest: int, longest: int) -> str:
        """Text of so many characters, without NUL."""
        value = self.string(key, self._values[key])
        if not shortest <= len(value) <= longest or "\0" in value:
            raise self.invalid(key, f"must be {shortest} to {longest} characters without NUL")
        return value

    def path(self, key: str, longest: int, suffix: str = "") -> str:
        """An absolute path with an ending, or nothing."""
        value = self.text(key, 0, longest)
        if value and not (value.startswith("/") and value.endswith(suffix)):
            raise self.invalid(key, f"must be an absolute path{f' that ends in {suffix}' if suffix else ''}")
        return value

    def sha256(self, key: str) -> str:
        """A digest in lower-case hexadecimal."""
        value = self.string(key, self._values[key])
        if _SHA256.fullmatch(value) is None:
            raise self.invalid(key, "must be 64 lower-case hexadecimal digits")
        return value

    def hexadecimal(self, key: str, length_bytes: int) -> str:
        """So many bytes in lower-case hexadecimal."""
        value = self.string(key, self._values[key])
        if re.fullmatch(f"[0-9a-f]{{{2 * length_bytes}}}", value) is None:
            raise self.invalid(key, f"must be {length_bytes} bytes in lower-case hexadecimal")
        return value

    def string(self, key: str, value: object) -> str:
        """Any text."""
        if not isinstance(value, str):
            raise self.invalid(key, "must be text")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number of a range."""
        value = self._values[key]
        if type(value) is not int or not least <= value <= most:
            raise self.invalid(key, f"must be a whole number from {least} to {most}")
        return value

    def fraction(self, key: str) -> float:
        """A number from 0 to 1."""
        return self._fraction(key, self._values[key])

    def _fraction(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.invalid(key, "must be from 0 to 1")
        return float(value)

    def three_fractions(self, key: str) -> tuple[float, float, float]:
        """Three numbers from 0 to 1."""
        value = self._values[key]
        if not isinstance(value, list) or len(value) != 3:
            raise self.invalid(key, "must be a list of three numbers")
        red, green, blue = (self._fraction(key, item) for item in value)
        return red, green, blue

    def seconds(self, key: str, value: object) -> float:
        """A duration."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_SECONDS:
            raise self.invalid(key, f"must be seconds from 0 to {MAX_SECONDS}")
        return float(value)

    def duration(self, key: str) -> float:
        """A number of seconds from 0."""
        return self.seconds(key, self._values[key])

    def time(self, key: str) -> datetime:
        """A time with a time zone, as UTC."""
        value = self.string(key, self._values[key])
        try:
            found = datetime.fromisoformat(value)
            if found.tzinfo is not None:
                return found.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.invalid(key, "must be a time as 2026-11-24T03:00:00+00:00") from error
        raise self.invalid(key, "must be a time with a time zone")

    def choice(self, key: str, kind: type[_E]) -> _E:
        """A value of an enumeration."""
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

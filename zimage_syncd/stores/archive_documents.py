"""The small JSON documents of an archive: written canonically, read with bounds and checked value by value."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from zimage_syncd.model.failures import StoreBroken
from zimage_syncd.stores.archive_keys import is_sha256
from zimage_syncd.stores.object_store import ObjectStore

MAX_SMALL_BYTES = 64 * 2**10
"""Of a marker or a reference; they take less than 1 KiB."""

MAX_LIST_BYTES = 80 * 2**20
"""Of an intent or a list of candidates: a million digests of 67 bytes."""

MAX_HOST_CHARS = 255
"""HOST_NAME_MAX is 64 on Linux, a domain name has at most 253 (RFC 1035)."""


class Document:
    """One JSON object that a store gave; every value is checked when it is taken.

    Unknown keys are passed over, so that a later version may add some.

    Args:
        store: where it lies.
        key: its key.
        max_bytes: more are not read.

    Raises:
        ObjectMissing: it is not there.
        StoreBroken: it is too large, or no JSON object.
    """

    def __init__(self, store: ObjectStore, key: str, max_bytes: int) -> None:
        self.subject = f"{store.describe()}/{key}"
        data = store.get(key, max_bytes)
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise StoreBroken(self.subject, f"is not JSON: {str(error)[:200]}") from error
        if not isinstance(values, dict):
            raise StoreBroken(self.subject, "is not a JSON object")
        self._values: dict[str, object] = values

    def value(self, name: str) -> object:
        """Whatever stands under a name; None where nothing does."""
        return self._values.get(name)

    def broken(self, name: str, expected: str) -> StoreBroken:
        """The failure for a value that is not what it has to be."""
        return StoreBroken(self.subject, f"{name} is {self._values.get(name)!r:.200}, expected {expected}")

    def text(self, name: str, max_chars: int) -> str:
        """Printable text.

        Raises:
            StoreBroken: it is none, or too long.
        """
        value = self._values.get(name)
        if not isinstance(value, str) or len(value) > max_chars or not value.isprintable():
            raise self.broken(name, f"at most {max_chars} printable characters")
        return value

    def time(self, name: str) -> datetime:
        """A time, UTC.

        Raises:
            StoreBroken: it is none, or without a time zone.
        """
        value = self._values.get(name)
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else None
            if found is not None and found.tzinfo is not None:
                return found.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        raise self.broken(name, "a time as 2026-11-24T03:00:00Z")

    def digests(self, name: str) -> list[str]:
        """A list of sha256 digests.

        Raises:
            StoreBroken: it is none.
        """
        value = self._values.get(name)
        if not isinstance(value, list):
            raise self.broken(name, "a list of sha256 digests")
        found = [item for item in value if isinstance(item, str) and is_sha256(item)]
        if len(found) != len(value):
            raise self.broken(name, "a list of sha256 digests")
        return found


def to_bytes(values: dict[str, object]) -> bytes:
    """A document as archives keep it: ASCII, sorted keys, no spaces, one newline at the end."""
    return json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def time_text(time: datetime) -> str:
    """A time in UTC with whole seconds, as `2026-11-24T03:00:00Z`."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def host_text(host: str) -> str:
    """A host's name as documents keep it, whatever the machine calls itself."""
    return "".join(char for char in host if char.isprintable())[:MAX_HOST_CHARS]

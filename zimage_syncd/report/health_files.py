"""Where health checks are remembered: one JSON file each, and the pictures that they drew, on the data disk."""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime, timedelta

from zimage_syncd.decide.due import CLOCK_STEP_S
from zimage_syncd.model.checked_json import HealthDocumentInvalid
from zimage_syncd.model.health_record import MAX_RECORD_BYTES, HealthRecord, decode_record, encode_record
from zimage_syncd.report.kept import STAMP, free_stem, names_in, read_kept, write_kept

MAX_RECORDS = 500
"""A check a day for a year and more, of 3 kB each."""

MAX_PICTURES = 50
"""Side-by-side ones count; 1024 px of a real picture take 1 to 2 MB."""

_RECORD = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}\.json", re.ASCII)
_PICTURE = re.compile(r"\d{8}T\d{6}Z-.+\.png", re.ASCII)
"""What `work.health` calls its pictures; nothing else in either directory is read or removed."""
_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in the name of a record whose own date cannot be true; sorts before all others."""


class HealthFiles:
    """Records in a directory, and the pictures in another one.

    What is dated later than now, by a clock that was wrong, counts as the oldest: it hides nothing that came after it.

    Args:
        directory: of the records.
        pictures: of the pictures, which the probe writes.
    """

    def __init__(self, directory: str, pictures: str) -> None:
        self.directory = directory
        self._pictures = pictures

    def save(self, record: HealthRecord, now: datetime) -> str:
        """Keeps a record, durably; removes the oldest records and pictures where there are too many.

        Args:
            record: of a check that has ended.
            now: UTC.

        Returns:
            Its absolute path.

        Raises:
            PathUnwritable, DeviceFull: the directory cannot take it.
        """
        place = os.path.join(self.directory, f"{free_stem(min(record.at, now), names_in(self.directory))}.json")
        write_kept(place, encode_record(record))
        self._put_behind(now)
        _keep_newest(self.directory, _RECORD, MAX_RECORDS, now)
        _keep_newest(self._pictures, _PICTURE, MAX_PICTURES, now)
        return place

    def _put_behind(self, now: datetime) -> None:
        """Takes the dates out of names that lie ahead: once these have come, they would sort as the newest."""
        ahead = [name for name in _newest_first(self.directory, _RECORD, now) if _is_ahead(name, now)]
        for name in reversed(ahead):
            stem = free_stem(_NO_DATE, names_in(self.directory))
            with contextlib.suppress(OSError):
                os.rename(os.path.join(self.directory, name), os.path.join(self.directory, f"{stem}.json"))

    def recent(self, limit: int, now: datetime) -> list[HealthRecord]:
        """The newest records, the newest first; one that cannot be understood is passed over.

        Args:
            limit: so many at most.
            now: UTC.
        """
        found = []
        for name in _newest_first(self.directory, _RECORD, now)[:limit]:
            try:
                found.append(decode_record(read_kept(os.path.join(self.directory, name), MAX_RECORD_BYTES + 1)))
            except (OSError, HealthDocumentInvalid):
                continue
        return found


def _is_ahead(name: str, now: datetime) -> bool:
    """Whether the stamp that a name begins with lies further ahead of the clock than a time server moves it."""
    latest = (now + timedelta(seconds=CLOCK_STEP_S)).strftime(STAMP)
    return name[: len(latest)] > latest


def _newest_first(directory: str, pattern: re.Pattern[str], now: datetime) -> list[str]:
    """The names that fit, those that are dated later than now at the end."""
    names = [name for name in names_in(directory) if pattern.fullmatch(name)]
    return sorted(names, key=lambda name: _is_ahead(name, now))


def _keep_newest(directory: str, pattern: re.Pattern[str], count: int, now: datetime) -> None:
    for name in _newest_first(directory, pattern, now)[count:]:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))

"""Where health checks are remembered: one JSON file each, and the pictures that they drew, on the data disk."""

from __future__ import annotations

import contextlib
import os
import re

from zimage_syncd.model.checked_json import HealthDocumentInvalid
from zimage_syncd.model.health_record import MAX_RECORD_BYTES, HealthRecord, decode_record, encode_record
from zimage_syncd.report.kept import free_stem, names_in, read_kept, write_kept

MAX_RECORDS = 500
"""A check a day for a year and more, of 3 kB each."""

MAX_PICTURES = 50
"""Side-by-side ones count; 1024 px of a real picture take 1 to 2 MB."""

_RECORD = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}\.json", re.ASCII)
_PICTURE = re.compile(r"\d{8}T\d{6}Z-.+\.png", re.ASCII)
"""What `work.health` calls its pictures; nothing else in either directory is read or removed."""


class HealthFiles:
    """Records in a directory, and the pictures in another one.

    Args:
        directory: of the records.
        pictures: of the pictures, which the probe writes.
    """

    def __init__(self, directory: str, pictures: str) -> None:
        self.directory = directory
        self._pictures = pictures

    def save(self, record: HealthRecord) -> str:
        """Keeps a record, durably; removes the oldest records and pictures where there are too many.

        Returns:
            Its absolute path.

        Raises:
            PathUnwritable, DeviceFull: the directory cannot take it.
        """
        place = os.path.join(self.directory, f"{free_stem(record.at, self._names())}.json")
        write_kept(place, encode_record(record))
        _keep_newest(self.directory, _RECORD, MAX_RECORDS)
        _keep_newest(self._pictures, _PICTURE, MAX_PICTURES)
        return place

    def recent(self, limit: int) -> list[HealthRecord]:
        """The newest records, the newest first; one that cannot be understood is passed over."""
        found = []
        for name in self._names()[:limit]:
            try:
                found.append(decode_record(read_kept(os.path.join(self.directory, name), MAX_RECORD_BYTES + 1)))
            except (OSError, HealthDocumentInvalid):
                continue
        return found

    def _names(self) -> list[str]:
        return [name for name in names_in(self.directory) if _RECORD.fullmatch(name)]


def _keep_newest(directory: str, pattern: re.Pattern[str], count: int) -> None:
    for name in [name for name in names_in(directory) if pattern.fullmatch(name)][count:]:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))

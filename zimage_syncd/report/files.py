"""Where integrity reports are kept: one JSON file each, on the data disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
from datetime import UTC, datetime, timedelta

from zimage_syncd.durability import sync_directory
from zimage_syncd.model.failures import DeviceFull, PathUnwritable
from zimage_syncd.model.report import Report
from zimage_syncd.model.status import ReportRow
from zimage_syncd.report.json_document import report_fields, to_json
from zimage_syncd.report.words import count

_STAMP = "%Y%m%dT%H%M%S"
_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}-[a-z-]+\.json", re.ASCII)
"""What `save` calls its files; nothing else in the directory is read or removed."""
_PARTS = 16**4
"""Of a second: as many as four hexadecimal digits tell apart."""
_MAX_BYTES = 64 * 2**20
_FULL = (28, 122)
"""ENOSPC and EDQUOT (errno.h)."""


class ReportFiles:
    """A `ports.ReportStore` in a directory."""

    def __init__(self, directory: str, keep_days: float = 90.0) -> None:
        self.directory = directory
        self._keep_days = keep_days

    def save(self, report: Report) -> str:
        """Keeps a report, durably; removes those that are too old. Returns its absolute path.

        Raises:
            PathUnwritable, DeviceFull: the directory cannot take it.
        """
        name = self._free_name(report)
        place = os.path.join(self.directory, name)
        temporary = os.path.join(self.directory, f".{name}.tmp")
        try:
            os.makedirs(self.directory, exist_ok=True)
            with open(temporary, "x", encoding="utf-8") as file:
                file.write(to_json("report", report_fields(report)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, place)
            sync_directory(self.directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise (DeviceFull if error.errno in _FULL else PathUnwritable)(place, str(error.strerror)) from error
        self._sweep(report.started_at)
        return place

    def _free_name(self, report: Report) -> str:
        """Sorts as reports began, also within a second; of those of one moment, the later saved comes later."""
        stamp = report.started_at.strftime(_STAMP)
        part = report.started_at.microsecond * _PARTS // 10**6
        taken = {name[: len(stamp) + 5] for name in self._names()}
        while part < _PARTS - 1 and f"{stamp}-{part:04x}" in taken:
            part += 1
        return f"{stamp}-{part:04x}-{report.job}.json"

    def _sweep(self, now: datetime) -> None:
        oldest = (now - timedelta(days=self._keep_days)).strftime(_STAMP)
        for name in self._names():
            if name[: len(oldest)] < oldest:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.directory, name))

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self.directory)
        except OSError:
            return []
        return sorted(filter(_NAME.fullmatch, names), reverse=True)

    def recent(self, limit: int) -> list[ReportRow]:
        """The newest reports; one that cannot be read is passed over."""
        rows = []
        for name in self._names()[:limit]:
            place = os.path.join(self.directory, name)
            try:
                with open(place, "rb") as file:
                    document = json.loads(file.read(_MAX_BYTES))
                job, findings = str(document["job"]), document["findings"]
                at = datetime.fromisoformat(document["started_at"]).astimezone(UTC)
                counted = [item for item in findings if item["problem"]["severity"] != "note"]
                mended = sum(bool(item["mended"]) for item in counted)
            except (OSError, ValueError, KeyError, TypeError):
                continue
            outcome = "good" if not counted else f"{count(len(counted), 'problem')}, {mended} mended"
            rows.append(ReportRow(job, at, outcome, place))
        return rows

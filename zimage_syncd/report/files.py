"""Where integrity reports are kept: one JSON file each, on the data disk."""

from __future__ import annotations

import contextlib
import json
import os
import re
from datetime import UTC, datetime, timedelta

from zimage_syncd.model.report import Report
from zimage_syncd.model.status import ReportRow
from zimage_syncd.report.json_document import report_fields, to_json
from zimage_syncd.report.kept import STAMP, free_stem, names_in, read_kept, write_kept
from zimage_syncd.report.words import count

_NAME = re.compile(r"\d{8}T\d{6}-[0-9a-f]{4}-[a-z-]+\.json", re.ASCII)
"""What `save` calls its files; nothing else in the directory is read or removed."""
_MAX_BYTES = 64 * 2**20


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
        name = f"{free_stem(report.started_at, self._names())}-{report.job}.json"
        place = os.path.join(self.directory, name)
        write_kept(place, (to_json("report", report_fields(report)) + "\n").encode())
        self._sweep(report.started_at)
        return place

    def _sweep(self, now: datetime) -> None:
        oldest = (now - timedelta(days=self._keep_days)).strftime(STAMP)
        for name in self._names():
            if name[: len(oldest)] < oldest:
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(self.directory, name))

    def _names(self) -> list[str]:
        return [name for name in names_in(self.directory) if _NAME.fullmatch(name)]

    def recent(self, limit: int) -> list[ReportRow]:
        """The newest reports; one that cannot be read is passed over."""
        rows = []
        for name in self._names()[:limit]:
            place = os.path.join(self.directory, name)
            try:
                document = json.loads(read_kept(place, _MAX_BYTES))
                job, findings = str(document["job"]), document["findings"]
                at = datetime.fromisoformat(document["started_at"]).astimezone(UTC)
                counted = [item for item in findings if item["problem"]["severity"] != "note"]
                mended = sum(bool(item["mended"]) for item in counted)
            except (OSError, ValueError, KeyError, TypeError):
                continue
            outcome = "good" if not counted else f"{count(len(counted), 'problem')}, {mended} mended"
            rows.append(ReportRow(job, at, outcome, place))
        return rows

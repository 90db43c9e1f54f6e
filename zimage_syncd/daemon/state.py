"""When each scheduled job last ran, kept on the data disk so that a reset does not forget it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

SCHEDULE_NAME = "schedule.json"


class LastRuns:
    """Times of the last runs, by job."""

    def __init__(self, read: Callable[[], Mapping[str, object] | None], write: Callable[[bytes], None]) -> None:
        """Keeps how the document is read and written.

        Args:
            read: gives the document; None where there is none.
            write: replaces it, durably.
        """
        self._read = read
        self._write = write

    def get(self, job: str) -> datetime | None:
        """When a job last ran, UTC; None where it never did, or nobody knows."""
        document = self._read() or {}
        value = document.get(job)
        if not isinstance(value, str):
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment.astimezone(UTC) if moment.tzinfo is not None else None

    def set(self, job: str, moment: datetime) -> None:
        """Remembers a run."""
        document = {**(self._read() or {}), job: moment.isoformat()}
        self._write(json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")


def schedule_path(state_directory: str) -> str:
    """Where the document lies on the data disk."""
    return os.path.join(state_directory, SCHEDULE_NAME)

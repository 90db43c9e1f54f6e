"""When each scheduled job last ran, and which are asked for; on the data disk, so that a reset does not forget it."""

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
        self._write(_bytes_of(document))

    def queue(self, job: str, moment: datetime) -> None:
        """Asks for a run as soon as a daemon is there, whatever the schedule says."""
        self.set(_queued(job), moment)

    def queued(self, job: str) -> datetime | None:
        """When somebody asked for a run that has not been made; None where nobody did."""
        return self.get(_queued(job))

    def done(self, job: str, began_at: datetime) -> None:
        """A run that began then has ended well: what was asked for until then is done."""
        asked_at = self.queued(job)
        if asked_at is not None and asked_at <= began_at:
            document = {name: value for name, value in (self._read() or {}).items() if name != _queued(job)}
            self._write(_bytes_of(document))


def _queued(job: str) -> str:
    return f"{job} queued"


def _bytes_of(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def schedule_path(state_directory: str) -> str:
    """Where the document lies on the data disk."""
    return os.path.join(state_directory, SCHEDULE_NAME)

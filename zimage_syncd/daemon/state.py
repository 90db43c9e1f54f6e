"""When each scheduled job last ran, and which are asked for; on the data disk, so that a reset does not forget it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime

SCHEDULE_NAME = "schedule.json"

Change = Callable[[Mapping[str, object]], bytes]
"""What the document becomes, from what it is."""


class LastRuns:
    """Times of the last runs, by job."""

    def __init__(self, read: Callable[[], Mapping[str, object] | None], update: Callable[[Change], None]) -> None:
        """Keeps how the document is read and changed.

        Args:
            read: gives the document; None where there is none.
            update: replaces it, durably, by what is made of it; no other process changes it meanwhile.
        """
        self._read = read
        self._update = update

    def get(self, job: str) -> datetime | None:
        """When a job last ran, UTC; None where it never did, or nobody knows."""
        return _moment((self._read() or {}).get(job))

    def set(self, job: str, moment: datetime) -> None:
        """Remembers a run."""
        self._update(lambda document: _bytes_of({**document, job: moment.isoformat()}))

    def queue(self, job: str, moment: datetime, snapshots: Iterable[str]) -> None:
        """Asks for a run as soon as a daemon is there, whatever the schedule says.

        Args:
            job: which.
            moment: when somebody asks, UTC.
            snapshots: what the run is wanted for.
        """
        wanted = dict.fromkeys(snapshots, moment)
        self._update(lambda document: _with_queue(document, job, {**_queue_of(document, job), **wanted}))

    def queued(self, job: str) -> datetime | None:
        """When somebody last asked for a run that has not been made; None where nobody did."""
        return max(_queue_of(self._read() or {}, job).values(), default=None)

    def done(self, job: str, began_at: datetime, snapshots: Collection[str] | None = None) -> None:
        """A run has ended well: what was asked for before it began is done.

        Args:
            job: which.
            began_at: when it began, UTC.
            snapshots: what it covered; None: everything.
        """

        def change(document: Mapping[str, object]) -> bytes:
            left = {
                snapshot: asked_at
                for snapshot, asked_at in _queue_of(document, job).items()
                if asked_at > began_at or (snapshots is not None and snapshot not in snapshots)
            }
            return _with_queue(document, job, left)

        if _queue_of(self._read() or {}, job):
            self._update(change)


def _queued(job: str) -> str:
    return f"{job} queued"


def _queue_of(document: Mapping[str, object], job: str) -> dict[str, datetime]:
    """For which snapshots a run is asked for, and when that was."""
    entries = document.get(_queued(job))
    moments = {name: _moment(value) for name, value in entries.items()} if isinstance(entries, dict) else {}
    return {name: moment for name, moment in moments.items() if moment is not None}


def _with_queue(document: Mapping[str, object], job: str, queue: Mapping[str, datetime]) -> bytes:
    rest = {name: value for name, value in document.items() if name != _queued(job)}
    entries = {name: moment.isoformat() for name, moment in queue.items()}
    return _bytes_of({**rest, _queued(job): entries} if entries else rest)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo is not None else None


def _bytes_of(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def schedule_path(state_directory: str) -> str:
    """Where the document lies on the data disk."""
    return os.path.join(state_directory, SCHEDULE_NAME)

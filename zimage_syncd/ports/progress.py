"""Time, progress, and the wish to stop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from zimage_syncd.model.snapshot import SnapshotKey

OnBytes = Callable[[int], None]
"""Is told how many more bytes were handled."""


class Clock(Protocol):
    """Time, passed in so that tests can hold it."""

    def now(self) -> datetime:
        """Wall clock, UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Waits."""


class Cancel(Protocol):
    """A wish to stop, looked at between chunks."""

    def check(self) -> None:
        """Goes on, or raises.

        Raises:
            Stopped: somebody asked to stop.
        """


class Monitor(Protocol):
    """Is told how far a job is; safe to call from several threads."""

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        """A task starts.

        Args:
            task: for people, such as `restore Tongyi-MAI/Z-Image-Turbo`.
            total_bytes: to be done; 0 where nobody knows.
            restores: the snapshot that it brings back; None for other tasks.
        """

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of the task are done; negative where some have to be done again."""

    def note(self, text: str) -> None:
        """A sentence for people."""

    def finish(self) -> None:
        """The task has ended."""

"""A clock that tests hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class HeldClock:
    """A `ports.Clock` that moves only when it is told to; it begins an hour ahead, so that every file has settled."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC) + timedelta(hours=1)
        self.elapsed_s = 0.0
        self.slept_s: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.move(seconds)

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.elapsed_s += seconds

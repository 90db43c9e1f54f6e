"""The system's clock, the only place that asks it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """A `ports.Clock` that tells the real time."""

    def now(self) -> datetime:
        """Wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)

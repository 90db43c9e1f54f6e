"""What somebody outside asks of the daemon while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Signals(Protocol):
    """Has things called in a signal's handler, that is, between any two instructions of the main thread."""

    def when_asked(self, listener: Callable[[], None]) -> None:
        """Has something called as soon as somebody asks to stop."""

    def when_hung_up(self, listener: Callable[[], None]) -> None:
        """Has something called as soon as somebody asks to read the configuration anew."""

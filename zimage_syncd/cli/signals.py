"""SIGTERM and Ctrl-C as a wish to stop that jobs look at between chunks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from zimage_syncd.model.failures import Stopped


class StopFlag:
    """A `ports.Cancel` that a signal sets."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def check(self) -> None:
        """Goes on, or raises.

        Raises:
            Stopped: somebody asked to stop.
        """
        if self._asked.is_set():
            raise Stopped("the command", "SIGTERM or Ctrl-C")

    def when_asked(self, listener: Callable[[], None]) -> None:
        """Has something called as soon as somebody asks, in the signal's handler."""
        self._listeners.append(listener)

    def ask(self) -> None:
        """Asks to stop."""
        self._asked.set()
        for listener in self._listeners:
            listener()

    def listen(self) -> None:
        """Lets SIGTERM and SIGINT ask; a second SIGINT ends at once."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked.is_set():
            raise KeyboardInterrupt
        self.ask()

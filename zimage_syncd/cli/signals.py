"""SIGTERM and Ctrl-C as a wish to stop that jobs look at between chunks; SIGHUP as one for a new configuration."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from zimage_syncd.model.failures import Stopped

_STANDARD_INPUT = 0


class StopFlag:
    """A `ports.Cancel` that a signal sets."""

    def __init__(self) -> None:
        # No Event: its `set` takes a lock, which a second signal in the handler of the first would wait for, for ever.
        self._asked = False
        self._hung_up = False
        self._listeners: list[Callable[[], None]] = []
        self._reload_listeners: list[Callable[[], None]] = []

    def check(self) -> None:
        """Goes on, or raises.

        Raises:
            Stopped: somebody asked to stop.
        """
        if self._asked:
            raise Stopped("the command", "SIGTERM or Ctrl-C")

    def when_asked(self, listener: Callable[[], None]) -> None:
        """Has something called as soon as somebody asks, in the signal's handler; at once if somebody has asked."""
        self._listeners.append(listener)
        if self._asked:
            listener()

    def when_hung_up(self, listener: Callable[[], None]) -> None:
        """Has something called as soon as somebody asks to read the configuration anew, in the signal's handler.

        At once if somebody has asked: what was read before may be the old one.
        """
        self._reload_listeners.append(listener)
        if self._hung_up:
            listener()

    def ask(self) -> None:
        """Asks to stop."""
        self._asked = True
        for listener in self._listeners:
            listener()

    def listen(self, *, reload: bool = False) -> None:
        """Lets SIGTERM and SIGINT ask; a second SIGINT ends at once.

        Args:
            reload: lets SIGHUP ask to read the configuration anew. To a program in a terminal it says that the terminal
                is gone, and stays a wish to stop.
        """
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        if reload:
            in_terminal = os.isatty(_STANDARD_INPUT)  # now: one that is gone is none
            signal.signal(signal.SIGHUP, self._handle if in_terminal else self._hang_up)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked:
            raise KeyboardInterrupt
        self.ask()

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._hung_up = True
        for listener in self._reload_listeners:
            listener()

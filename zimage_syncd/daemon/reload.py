"""A thread that reads the configuration anew when a signal asks for it, while the job under way goes on."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

_PATIENCE_S = 1.0
"""How long `stop` waits for a reading under way; it may hang in a dead mount."""


class Reloader:
    """Reads between `start` and `stop`; what was asked for before is read then."""

    def __init__(self, read: Callable[[], None]) -> None:
        self._read = read
        # Its `put` may be called in a signal's handler that interrupts another `put`; an Event's `set` may not.
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Asks for a reading, and returns at once; safe to call from a signal's handler."""
        self._asked.put(True)

    def start(self) -> None:
        """Begins to read."""
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._asked.put(False)
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    def _work(self) -> None:
        while self._asked.get() and self._merged():
            self._read()

    def _merged(self) -> bool:
        """Takes what else was asked meanwhile; False where that is to end."""
        with contextlib.suppress(queue.Empty):
            while True:
                if not self._asked.get_nowait():
                    return False
        return True

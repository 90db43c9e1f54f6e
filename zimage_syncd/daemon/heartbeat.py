"""A thread that tells the service manager what the daemon does, and that it lives, as long as its work advances."""

from __future__ import annotations

import threading
from collections.abc import Callable

from zimage_syncd.daemon.notify import ServiceManager

_TELL_EVERY_S = 2.0
"""How old the status may be."""
_BEATS_A_LIMIT = 4
"""sd_watchdog_enabled(3) asks for two; of four, one may come late on a busy machine."""


class Heartbeat:
    """Beats between `start` and `stop`; not at all where no manager listens.

    It touches no disk: a thread that could hang would tell nothing.
    """

    def __init__(self, manager: ServiceManager, alive: Callable[[], bool], doing: Callable[[], str]) -> None:
        """Prepares; nothing runs yet.

        Args:
            manager: who is told.
            alive: whether work has advanced since it was last asked.
            doing: what the daemon does, in words for people.
        """
        self._manager = manager
        self._alive = alive
        self._doing = doing
        self._told = ""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to beat."""
        if self._manager.listens:
            self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        limit_s = self._manager.watchdog_s
        pause_s = min(_TELL_EVERY_S, limit_s / _BEATS_A_LIMIT) if limit_s else _TELL_EVERY_S
        while not self._over.is_set():
            self.beat()
            self._over.wait(pause_s)

    def beat(self) -> None:
        """Tells what is new."""
        if self._manager.watchdog_s and self._alive():
            self._manager.alive()
        doing = self._doing()
        if doing != self._told:
            self._told = doing
            self._manager.status(doing)

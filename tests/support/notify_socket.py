"""What a service manager hears on its socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path


class NotifySocket:
    """Bound while it lives; `address` is what $NOTIFY_SOCKET says."""

    def __init__(self, place: Path | None) -> None:
        """Args: place: of the socket; None: in the abstract name space."""
        name = str(place) if place is not None else f"@zimage-syncd-test/{os.getpid()}/{time.monotonic_ns()}"
        self.address = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self.heard: list[str] = []

    def close(self) -> None:
        self._socket.close()

    def next(self, limit_s: float = 30) -> str | None:
        """The next message; None where none came in time."""
        self._socket.settimeout(limit_s)
        try:
            message = self._socket.recv(4096).decode()
        except TimeoutError:
            return None
        self.heard.append(message)
        return message

    def wait_for(self, wanted: Callable[[str], bool] | str, limit_s: float = 60) -> str:
        """Hears until a message comes."""
        matches = wanted if callable(wanted) else wanted.__eq__
        end = time.monotonic() + limit_s
        while (left_s := end - time.monotonic()) > 0:
            message = self.next(left_s)
            if message is not None and matches(message):
                return message
        raise AssertionError(f"it never came: {self.heard}")

    def during(self, seconds: float) -> list[str]:
        """What comes in a time."""
        end = time.monotonic() + seconds
        came = []
        while (left_s := end - time.monotonic()) > 0:
            message = self.next(left_s)
            if message is not None:
                came.append(message)
        return came

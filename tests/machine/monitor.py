"""QEMU's monitor (QMP): disks and cables are plugged in and pulled out while the guest runs."""

from __future__ import annotations

import json
import socket
from typing import Any

_ANSWER_S = 60.0


class MonitorRefused(Exception):
    """QEMU would not do it."""


class Monitor:
    """The host's end of a QMP connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_ANSWER_S)
        self._connection = connection
        self._stream = connection.makefile("rwb")
        self._events: list[dict[str, Any]] = []
        self._begun = False

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def do(self, command: str, **arguments: Any) -> Any:
        """One command; returns what QEMU answers.

        Raises:
            MonitorRefused: it cannot be done.
        """
        if not self._begun:
            self._begun = True
            self._read()  # the greeting
            self.do("qmp_capabilities")
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self._stream.flush()
        while True:
            answer = self._read()
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise MonitorRefused(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_for(self, event: str, **data: str) -> None:
        """Waits until QEMU tells an event with these data, also one that came before."""
        while True:
            for told in self._events:
                if told["event"] == event and data.items() <= told.get("data", {}).items():
                    self._events.remove(told)
                    return
            answer = self._read()
            if "event" in answer:
                self._events.append(answer)

    def _read(self) -> dict[str, Any]:
        line = self._stream.readline()
        if not line:
            raise MonitorRefused("QEMU is gone")
        return dict(json.loads(line))

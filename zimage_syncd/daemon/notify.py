"""Tells the service manager how the daemon is, as sd_notify(3) describes: one datagram a message to $NOTIFY_SOCKET.

Without such a socket nothing happens. Nobody waits for an answer, and a message that cannot be sent is dropped: the
daemon's work never depends on who watches it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

from zimage_syncd.ports import Clock

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_MOST_STATUS_BYTES = 1024
"""A line in `systemctl status`; systemd takes messages of up to 4096 bytes (sd_notify(3))."""


class ServiceManager:
    """Who started the daemon and wants to know how it is; safe to use from several threads and in signals' handlers."""

    def __init__(self, address: str, watchdog_s: float, clock: Clock) -> None:
        """Opens the socket; sends nothing.

        Args:
            address: of a Unix socket; with a leading `@` in the abstract name space; empty: nobody wants to know.
            watchdog_s: it ends the daemon when it heard nothing for so long; 0: it does not.
            clock: its monotonic time is CLOCK_MONOTONIC, as `reloading` needs it.
        """
        self.watchdog_s = watchdog_s if address else 0.0
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._clock = clock
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_UNIX, kind) if address else None

    @property
    def listens(self) -> bool:
        """Whether anybody wants to know."""
        return self._socket is not None

    def ready(self) -> None:
        """The daemon has begun to work, or has read its configuration anew."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """What the daemon does now, in words for people."""
        line = "".join(char if char.isprintable() else " " for char in text)
        self._send("STATUS=" + line.encode()[:_MOST_STATUS_BYTES].decode(errors="ignore"))

    def reloading(self) -> None:
        """The configuration is being read anew; `ready` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic_s() * 1e6)}")

    def stopping(self) -> None:
        """The daemon is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Work advances."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(message.encode(), self._address)


def open_manager(environ: MutableMapping[str, str], clock: Clock) -> ServiceManager:
    """The service manager that the environment names; takes the variables out of it, for no child may speak for us.

    Args:
        environ: the process's environment.
        clock: the time.
    """
    address, limit_us, watched = (environ.pop(name, "") for name in _VARIABLES)
    # Neither vsock addresses nor relative paths: those are not for a process beside its manager.
    known = address if address.startswith(("/", "@")) and len(address) > 1 else ""
    meant = not watched or watched == str(os.getpid())
    return ServiceManager(known, int(limit_us) / 1e6 if limit_us.isdecimal() and meant else 0.0, clock)

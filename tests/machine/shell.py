"""A root shell in a guest, over a virtio-serial port: requests and answers with their lengths before them.

The other end is root/usr/local/sbin/guest-shell.
"""

from __future__ import annotations

import itertools
import socket
import time
from dataclasses import dataclass

_READY = b"ready"
_GRACE_S = 60.0
"""How much longer than its time limit a command's answer may take: an emulated machine is slow to kill and to tell."""


class ShellSilent(Exception):
    """No answer came in time, or the guest is gone."""


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    exit_code: int
    """124 where the guest ended it at its time limit."""
    stdout: str
    stderr: str


class Shell:
    """One command at a time."""

    def __init__(self, connection: socket.socket) -> None:
        """Args: connection: the host's end of the port; belongs to the shell from now on."""
        self._connection = connection
        self._received = bytearray()
        self._tokens = itertools.count(1)

    def close(self) -> None:
        self._connection.close()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Waits for the guest's end to come up.

        Raises:
            ShellSilent: it did not.
        """
        self._answer(_READY, time.monotonic() + timeout_s)

    def run(self, command: str, stdin: bytes, timeout_s: float) -> Finished:
        """Runs lines of bash as root.

        Raises:
            ShellSilent: the guest does not answer.
        """
        token = b"%d" % next(self._tokens)
        script = command.encode()
        end_s = time.monotonic() + timeout_s + _GRACE_S
        header = b"%s %.3f %d %d\n" % (token, timeout_s, len(script), len(stdin))
        self._connection.settimeout(timeout_s + _GRACE_S)
        try:
            self._connection.sendall(header + script + stdin)
        except OSError as error:
            raise ShellSilent(str(error)) from error
        return self._answer(token, end_s)

    def _answer(self, token: bytes, end_s: float) -> Finished:
        """The answer with a token; older ones, which nobody waited for to the end, are passed over."""
        while True:
            found, exit_code, stdout_bytes, stderr_bytes = self._line(end_s).split()
            stdout, stderr = self._take(int(stdout_bytes), end_s), self._take(int(stderr_bytes), end_s)
            if found == token:
                return Finished(int(exit_code), stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    def _line(self, end_s: float) -> bytes:
        while b"\n" not in self._received:
            self._receive(end_s)
        return self._take(self._received.index(b"\n") + 1, end_s)

    def _take(self, count: int, end_s: float) -> bytes:
        while len(self._received) < count:
            self._receive(end_s)
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _receive(self, end_s: float) -> None:
        try:
            self._connection.settimeout(max(0.001, end_s - time.monotonic()))
            piece = self._connection.recv(2**16)
        except OSError as error:
            raise ShellSilent(str(error)) from error
        if not piece:
            raise ShellSilent("the guest is gone")
        self._received += piece

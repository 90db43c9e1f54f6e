"""A child's standard streams, each served by a thread, so that neither side ever waits for a full pipe.

What is kept is bounded; what goes beyond is read and dropped. A pipe that a runaway grandchild keeps open is left
behind with its thread.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from typing import IO

from zimage_syncd.model.health_json import MAX_RESULT_BYTES

LAST_BYTES = 8192
"""Of standard error: enough for a traceback's end."""

LAST_LINES = 5

JOIN_S = 2.0

_PIECE_BYTES = 2**16
"""A pipe's capacity on Linux (pipe(7))."""


class Pipes:
    """The three streams of one child."""

    def __init__(self, process: subprocess.Popen[bytes], content: bytes) -> None:
        """Starts the threads.

        Args:
            process: started with pipes for all three streams.
            content: for its standard input, which is closed afterwards.

        Raises:
            ValueError: the process has no such pipes.
        """
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("a child without pipes")
        self._answer = bytearray()
        self._errors = b""
        self._readers = (_serve(process.stdout, self._take_answer), _serve(process.stderr, self._take_errors))
        _feed(process.stdin, content)

    def answer(self) -> bytes:
        """The beginning of standard output, once the child has ended: a byte more than a result may have, at most."""
        self._readers[0].join(JOIN_S)
        return bytes(self._answer)

    def last_words(self) -> str:
        """The last lines of standard error, once the child has ended, as one."""
        self._readers[1].join(JOIN_S)
        lines = [line.strip() for line in self._errors.decode(errors="replace").splitlines()]
        return " | ".join([line for line in lines if line][-LAST_LINES:])

    def _take_answer(self, piece: bytes) -> None:
        self._answer += piece[: MAX_RESULT_BYTES + 1 - len(self._answer)]

    def _take_errors(self, piece: bytes) -> None:
        self._errors = (self._errors + piece)[-LAST_BYTES:]


def _feed(stream: IO[bytes], content: bytes) -> None:
    """Writes standard input; a child that has ended does not care."""

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), stream:
            stream.write(content)

    threading.Thread(target=write, name="probe-stdin", daemon=True).start()


def _serve(stream: IO[bytes], take: Callable[[bytes], None]) -> threading.Thread:
    def read() -> None:
        with stream:
            while piece := os.read(stream.fileno(), _PIECE_BYTES):
                take(piece)

    thread = threading.Thread(target=read, name="probe-output", daemon=True)
    thread.start()
    return thread

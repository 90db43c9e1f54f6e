"""`zimage-syncd run` as a process of its own, ended when a test is over."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.machine import Machine

QUIET = '[health]\nafter = []\n[verify]\nquick = ""\ndeep = ""\n'
"""A daemon that makes its cycle and then waits."""


class Daemon:
    """Runs between `with` and its end; what it says is in a file, so that nothing waits for a pipe."""

    def __init__(
        self, machine: Machine, *, before: tuple[str, ...] = (), stdin: int = subprocess.DEVNULL, **environment: str
    ) -> None:
        """Args: before: a command that starts the daemon, such as `unshare`."""
        self._stdin = stdin
        self._machine = machine
        self._before = before
        self._environment = environment
        self._output = machine.root / f"daemon-{time.monotonic_ns()}.log"

    def __enter__(self) -> Self:
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [*self._before, *self._machine.command("run")],
                stdin=self._stdin,
                stdout=output,
                stderr=output,
                cwd=self._machine.root,
                env={**self._machine.environment(**self._environment), "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        resource.prlimit(self.process.pid, resource.RLIMIT_CORE, (0, 0))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if error is None:
                raise

    def ended(self, limit_s: float = 30) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(limit_s)

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def wait_for(self, text: str, limit_s: float = 60) -> None:
        """Waits until it has said something."""
        end = time.monotonic() + limit_s
        while text not in self.said():
            if time.monotonic() > end or (self.process.poll() is not None and text not in self.said()):
                raise AssertionError(f"{text!r} was never said: {self.said()}")
            time.sleep(0.02)

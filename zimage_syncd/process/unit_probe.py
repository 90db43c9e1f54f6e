"""Runs the probe as a unit of its own under systemd, for a child of the daemon would be in the daemon's sandbox.

The sandbox hides the GPU and forbids code that is made at run time; both are what the health check needs. The unit
reads its request from a file and writes its answer to one, so that the probe is the same program either way. A unit
that is started before there is a request reads it from a FIFO.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from zimage_syncd.model import health_json
from zimage_syncd.model.health import AHEAD_VARIABLE, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.ports import Cancel, Probe
from zimage_syncd.process.pipes import LAST_BYTES, LAST_LINES
from zimage_syncd.process.probe import (
    ENTRY,
    OOM_KILLED,
    ProbeProcess,
    conclude,
    failed,
    not_started,
    only_files,
    passed_on,
    quoted,
    wait_until_ended,
)

UNIT_VARIABLE = "ZIMAGE_SYNCD_PROBE_UNIT"
"""What the daemon's unit names the template by: `zimage-syncd-probe`."""
_PYTHON_VARIABLE = "ZIMAGE_SYNCD_PROBE_PYTHON"
_DIRECTORY_VARIABLE = "RUNTIME_DIRECTORY"
"""systemd.exec(5): what RuntimeDirectory= made."""
_OOM = "oom"
"""In what systemctl says of a unit whose result is oom-kill."""
_ENV = ("/usr/bin/env: ", "env: ")
"""What the line begins with in which env(1), which the unit starts the interpreter by, says that it cannot."""
_STOP_S = 30.0
"""systemd kills what does not end after the unit's TimeoutStopSec, 5 s."""


@dataclass(frozen=True, slots=True)
class _Started:
    """A unit that systemd was told to start."""

    unit: str
    """Its name."""
    instance: str
    """What its files are named by."""
    job: subprocess.Popen[bytes]
    """`systemctl start`, which returns when the probe has ended: the unit's type is oneshot."""
    layout: str = ""
    """What it was started ahead for; empty: it has its request."""
    fifo: int = -1
    """Descriptor of the FIFO that it reads its request from; -1: it is a file."""

    def is_running(self) -> bool:
        """Whether the unit has not ended."""
        return self.job.poll() is None

    def ask(self, request: HealthRequest) -> None:
        """Gives the request to a unit that was started ahead.

        The line's end says that it is all. The FIFO stays open: what is written to one that nobody has open is lost,
        and systemd may not have opened it yet.

        Raises:
            OSError: it does not take it.
        """
        document = health_json.encode_request(request) + b"\n"
        if os.write(self.fifo, document) != len(document):
            raise BlockingIOError(f"a FIFO has no room for {len(document)} bytes")


class UnitProbe:
    """Implements `ports.Probe`."""

    def __init__(self, python: str, environment: Mapping[str, str], template: str, directory: str) -> None:
        """Prepares; starts nothing.

        Args:
            python: absolute path of the interpreter that has torch.
            environment: the daemon's own; only what the probe needs is passed on.
            template: the unit's name before its `@`.
            directory: where the unit looks for what it is given; nobody but root may write to it.
        """
        self._python = python
        self._environment = {**passed_on(environment), "ZIMAGE_SYNCD_PROBE_PROGRAM": ENTRY}
        self._template = template
        self._directory = directory
        self._lock = threading.Lock()
        self._ahead: _Started | None = None

    def prepare(self, layout: str) -> None:
        """Starts a unit that imports what a request for this layout needs, unless there is one already."""
        with self._lock, contextlib.suppress(OSError):
            if self._ahead is None and os.access(self._python, os.X_OK):
                self._ahead = self._start_ahead(layout)

    def dismiss(self) -> None:
        """Stops a unit that was prepared and that no request has come for."""
        started = self._taken("")
        if started is not None:
            self._give_up(started)

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        """Runs one health check and waits for its end; never raises for what the check finds.

        Args:
            request: what to do.
            timeout_s: after so many seconds the unit is stopped.
            cancel: looked at ten times a second.

        Raises:
            Stopped: `cancel` said so; the unit has been stopped.
        """
        result = self._with(self._python, request, timeout_s, cancel)
        return only_files(
            self._python, request, result, lambda files: self._with(sys.executable, files, timeout_s, cancel)
        )

    def _with(self, python: str, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        if not os.access(python, os.X_OK):
            number = errno.EACCES if os.path.exists(python) else errno.ENOENT
            return not_started(request, python, OSError(number, os.strerror(number)))
        prepared = self._prepared_for(request) if python == self._python else None
        instance = prepared.instance if prepared is not None else secrets.token_hex(8)
        try:
            started = prepared or self._start(instance, request, python)
            return self._wait(started, python, request, timeout_s, cancel)
        except OSError as error:
            return failed(request, HealthOutcome.CRASHED, f"the probe's unit: {error.filename}: {error.strerror}")
        finally:
            if prepared is not None:
                os.close(prepared.fifo)
            self._remove_files(instance)

    def _taken(self, layout: str) -> _Started | None:
        """What was prepared, which is the caller's from now on; None where it is for another layout than this one."""
        with self._lock:
            started = self._ahead
            if started is None or layout not in {"", started.layout}:
                return None
            self._ahead = None
            return started

    def _prepared_for(self, request: HealthRequest) -> _Started | None:
        """A unit that has been given this request; None where none waits for it."""
        started = self._taken(request.layout)
        if started is None:
            return None
        if started.is_running():
            with contextlib.suppress(OSError):
                started.ask(request)
                return started
        self._give_up(started)
        return None

    def _start(self, instance: str, request: HealthRequest, python: str) -> _Started:
        self._write(f"{instance}.request", health_json.encode_request(request))
        self._write(f"{instance}.environment", environment_file({**self._environment, _PYTHON_VARIABLE: python}))
        unit = f"{self._template}@{instance}.service"
        return _Started(unit, instance, _systemctl_start(unit))

    def _start_ahead(self, layout: str) -> _Started:
        instance = secrets.token_hex(8)
        unit, fifo = f"{self._template}@{instance}.service", -1
        try:
            os.mkfifo(self._place(f"{instance}.request"), 0o600)
            # For both, so that systemd does not wait for a writer, and reads an end when this process is gone.
            fifo = os.open(self._place(f"{instance}.request"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            variables = {**self._environment, _PYTHON_VARIABLE: self._python, AHEAD_VARIABLE: layout}
            self._write(f"{instance}.environment", environment_file(variables))
            return _Started(unit, instance, _systemctl_start(unit), layout, fifo)
        except OSError:
            if fifo >= 0:
                os.close(fifo)
            self._remove_files(instance)
            raise

    def _wait(
        self, started: _Started, python: str, request: HealthRequest, timeout_s: float, cancel: Cancel
    ) -> HealthResult:
        in_time = False
        try:
            in_time = wait_until_ended(started.job.pid, timeout_s, cancel)
        finally:
            if not in_time:
                _systemctl_stop(started.unit)
            _, told = started.job.communicate()
        last_words = self._last_words(started.instance)
        if not in_time:
            return failed(request, HealthOutcome.TIMEOUT, f"no result after {timeout_s:g} s{quoted(last_words)}")
        if started.job.returncode:
            why = told.decode(errors="replace").strip().partition("\n")[0]
            if _OOM in why.lower():
                return failed(request, HealthOutcome.OUT_OF_MEMORY, f"{OOM_KILLED}{quoted(last_words)}")
            if error := _why_not_started(python, last_words):
                return not_started(request, python, error)
            return failed(request, HealthOutcome.CRASHED, f"{why or started.unit}{quoted(last_words)}")
        answer = self._read(f"{started.instance}.answer", health_json.MAX_RESULT_BYTES + 1)
        return conclude(request, 0, answer, last_words)

    def _give_up(self, started: _Started) -> None:
        """Stops a unit that waits for a request, and removes what is left of it."""
        os.close(started.fifo)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            _systemctl_stop(started.unit)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.job.communicate(timeout=_STOP_S)
        self._remove_files(started.instance)

    def _remove_files(self, instance: str) -> None:
        for kind in ("request", "environment", "answer", "errors"):
            with contextlib.suppress(OSError):
                os.unlink(self._place(f"{instance}.{kind}"))

    def _last_words(self, instance: str) -> str:
        try:
            said = self._read(f"{instance}.errors", None)[-LAST_BYTES:].decode(errors="replace")
        except OSError:
            return ""
        return " | ".join([line.strip() for line in said.splitlines() if line.strip()][-LAST_LINES:])

    def _write(self, name: str, content: bytes) -> None:
        with open(self._place(name), "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)

    def _read(self, name: str, limit: int | None) -> bytes:
        with open(self._place(name), "rb") as file:
            return file.read(-1 if limit is None else limit)

    def _place(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _systemctl_start(unit: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["systemctl", "start", unit], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _systemctl_stop(unit: str) -> None:
    subprocess.run(["systemctl", "stop", unit], check=False, capture_output=True, timeout=_STOP_S)


def _why_not_started(python: str, last_words: str) -> OSError | None:
    """Why a unit that failed never was the probe; None where it may have been.

    systemd does not tell with what a unit that it has forgotten ended. Where the interpreter is of another kind of
    machine, env(1) has a shell read it, which says anything: so the same is tried here, and ended at once.
    """
    silent = subprocess.DEVNULL
    try:
        tried = subprocess.Popen([python, "-c", ""], stdin=silent, stdout=silent, stderr=silent, env={})
    except OSError as error:
        return error
    tried.kill()
    tried.wait()
    if last_words.startswith(_ENV) and python in last_words:
        return OSError(f"the health check's unit cannot start it ({last_words}): name one that it can in health.python")
    return None


def environment_file(variables: Mapping[str, str]) -> bytes:
    """Variables as EnvironmentFile= in systemd.exec(5) has them; what has no place on a line is left out."""
    lines = []
    for name, value in variables.items():
        if value.isprintable():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
            lines.append(f'{name}="{escaped}"\n')
    return "".join(lines).encode()


def open_probe(python: str, environment: Mapping[str, str]) -> Probe:
    """The probe as a unit where the daemon's own unit says so, else as a child.

    Args:
        python: absolute path of the interpreter that has torch.
        environment: the daemon's own.
    """
    template, directory = environment.get(UNIT_VARIABLE, ""), environment.get(_DIRECTORY_VARIABLE, "")
    if template and directory:
        return UnitProbe(python, environment, template, directory)
    return ProbeProcess(python, environment)

"""Runs the probe as a unit of its own under systemd, for a child of the daemon would be in the daemon's sandbox.

The sandbox hides the GPU and forbids code that is made at run time; both are what the health check needs. The unit
reads its request from a file and writes its answer to one, so that the probe is the same program either way.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping

from zimage_syncd.model import health_json
from zimage_syncd.model.health import HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.ports import Cancel, Probe
from zimage_syncd.process.pipes import LAST_BYTES, LAST_LINES
from zimage_syncd.process.probe import (
    ENTRY,
    OOM_KILLED,
    ProbeProcess,
    conclude,
    failed,
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
_STOP_S = 30.0
"""systemd kills what does not end after the unit's TimeoutStopSec, 5 s."""


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
            return failed(request, HealthOutcome.MISSING_EXTRA, f"{python}: no program that can be started")
        instance = secrets.token_hex(8)
        try:
            self._write(f"{instance}.request", health_json.encode_request(request))
            self._write(f"{instance}.environment", environment_file({**self._environment, _PYTHON_VARIABLE: python}))
            return self._run(f"{self._template}@{instance}.service", instance, request, timeout_s, cancel)
        except OSError as error:
            return failed(request, HealthOutcome.CRASHED, f"the probe's unit: {error.filename}: {error.strerror}")
        finally:
            for kind in ("request", "environment", "answer", "errors"):
                with contextlib.suppress(OSError):
                    os.unlink(self._place(f"{instance}.{kind}"))

    def _run(self, unit: str, instance: str, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        # Its type is oneshot: `start` returns when the probe has ended.
        started = subprocess.Popen(
            ["systemctl", "start", unit], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        in_time = False
        try:
            in_time = wait_until_ended(started.pid, timeout_s, cancel)
        finally:
            if not in_time:
                subprocess.run(["systemctl", "stop", unit], check=False, capture_output=True, timeout=_STOP_S)
            _, told = started.communicate()
        last_words = self._last_words(instance)
        if not in_time:
            return failed(request, HealthOutcome.TIMEOUT, f"no result after {timeout_s:g} s{quoted(last_words)}")
        if started.returncode:
            why = told.decode(errors="replace").strip().partition("\n")[0]
            if _OOM in why.lower():
                return failed(request, HealthOutcome.OUT_OF_MEMORY, f"{OOM_KILLED}{quoted(last_words)}")
            return failed(request, HealthOutcome.CRASHED, f"{why or unit}{quoted(last_words)}")
        return conclude(request, 0, self._read(f"{instance}.answer", health_json.MAX_RESULT_BYTES + 1), last_words)

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

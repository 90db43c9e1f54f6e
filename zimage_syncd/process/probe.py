"""Runs the probe in a process group of its own, with a time limit, and leaves nothing of it behind.

Imports nothing of the probe: it is started by its path, so that another environment's Python can run it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import zimage_syncd
from zimage_syncd.model import health_json
from zimage_syncd.model.health import AHEAD_VARIABLE, HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.ports import Cancel
from zimage_syncd.process import oom, strays
from zimage_syncd.process.kept_child import KeptChild
from zimage_syncd.process.pipes import Pipes

POLL_S = 0.1
GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""

ENTRY = os.path.join(os.path.dirname(os.path.abspath(zimage_syncd.__file__)), "probe", "__main__.py")
"""The probe's program."""

OOM_KILLED = "ended by the kernel for want of memory (the machine's, or a control group's limit)"

EXIT_PYTHON_TOO_OLD = 5
"""The probe's own, for an interpreter that cannot run it."""

_NO_MEMORY = "annot allocate memory"
"""C's library says it with either case, and ends the process with 127 while it loads a shared library."""

_CANNOT_START = frozenset({EXIT_PYTHON_TOO_OLD, 126, 127})
"""With what a dynamic loader and env(1) end where a program, or a library of it, is gone."""

_NOT_STARTED = {
    errno.EACCES: "make it executable, on a file system that is not mounted noexec",
    errno.ENOEXEC: "it is of another kind of machine, or no program: name one of this machine in health.python",
}
"""What helps where a program is there and cannot be started, by the error of execve(2)."""

_PASSED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
    | {"CONDA_PREFIX", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}
    | {"PYTORCH_HIP_ALLOC_CONF", "GPU_DEVICE_ORDINAL"}
)
_PASSED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "HIP_", "HSA_", "ROCR_")
"""What torch and the drivers of CUDA and ROCm need, such as which cards are to be seen. Everything else stays here:
tokens, keys, proxies, places of caches."""


class ProbeProcess:
    """Implements `ports.Probe`."""

    def __init__(
        self,
        python: str | None,
        environment: Mapping[str, str],
        program: tuple[str, ...] | None = None,
        oom_kills: Callable[[], int] = oom.kills,
    ) -> None:
        """Prepares the command; starts nothing.

        Args:
            python: absolute path of the interpreter that has torch; None: this one.
            environment: the daemon's own; only what the probe needs is passed on.
            program: what the interpreter runs instead of the probe, with its arguments.
            oom_kills: counts processes that were ended for want of memory.
        """
        self._python = python or sys.executable
        self._environment = passed_on(environment)
        self._program = program or (ENTRY,)
        self._oom_kills = oom_kills
        self._lock = threading.Lock()
        self._ahead: KeptChild | None = None

    def prepare(self, layout: str) -> None:
        """Starts a process that imports what a request for this layout needs, unless there is one already."""
        # RuntimeError: there is no thread to be had. Then the check starts its process itself, as ever.
        with self._lock, contextlib.suppress(RuntimeError):
            if self._ahead is None:
                mark = strays.new_mark()
                more = {AHEAD_VARIABLE: layout}
                self._ahead = KeptChild(layout, mark, lambda: self._start(self._python, mark, more))

    def dismiss(self) -> None:
        """Ends a process that was prepared and that no request has come for."""
        kept = self._taken("")
        if kept is not None:
            _end_kept(kept)

    def _taken(self, layout: str) -> KeptChild | None:
        """What was prepared, which is the caller's from now on; None where it is for another layout than this one."""
        with self._lock:
            kept = self._ahead
            if kept is None or layout not in {"", kept.layout}:
                return None
            self._ahead = None
            return kept

    def _prepared_for(self, request: HealthRequest) -> KeptChild | None:
        """A process that waits for this request; None where there is none."""
        kept = self._taken(request.layout)
        if kept is not None and not kept.is_running():
            _end_kept(kept)
            return None
        return kept

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        """Runs one health check and waits for its end; never raises for what the check finds.

        Args:
            request: what to do.
            timeout_s: after so many seconds the whole process group is ended.
            cancel: looked at ten times a second.

        Raises:
            Stopped: `cancel` said so; the process group has been ended.
        """
        result = self._run(self._python, request, timeout_s, cancel)
        return only_files(
            self._python, request, result, lambda files: self._run(sys.executable, files, timeout_s, cancel)
        )

    def _run(self, python: str, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        strays.end_orphaned()
        kept = self._prepared_for(request) if python == self._python else None
        mark, killed_before = kept.mark if kept is not None else strays.new_mark(), self._oom_kills()
        try:
            process = (kept.process() if kept is not None else None) or self._start(python, mark, {})
        except OSError as error:
            return not_started(request, python, error)
        try:
            pipes = Pipes(process, health_json.encode_request(request))
            in_time = wait_until_ended(process.pid, timeout_s, cancel)
            if not in_time:
                _terminate(process.pid)
        finally:
            status = _end_group(process)
            strays.end_marked(mark)
            if kept is not None:
                kept.release()
        last_words = pipes.last_words()
        if not in_time:
            return failed(request, HealthOutcome.TIMEOUT, f"no result after {timeout_s:g} s{quoted(last_words)}")
        if status == -signal.SIGKILL and self._oom_kills() > killed_before:
            return failed(request, HealthOutcome.OUT_OF_MEMORY, f"{OOM_KILLED}{quoted(last_words)}")
        return conclude(request, status, pipes.answer(), last_words)

    def _start(self, python: str, mark: str, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Starts the probe; it ends with the thread that calls this, which therefore has to wait for it.

        Args:
            python: the interpreter.
            mark: by which its left-overs are found.
            more: for its environment.
        """
        return subprocess.Popen(
            [python, *self._program, "--parent", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={**self._environment, strays.VARIABLE: mark, **more},
            start_new_session=True,
        )


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment the probe gets to see."""
    return {name: value for name, value in environment.items() if name in _PASSED or name.startswith(_PASSED_PREFIXES)}


def wait_until_ended(pid: int, timeout_s: float, cancel: Cancel) -> bool:
    """Waits for the process to end, without reaping it: until then nobody else can get its number.

    Returns:
        False where the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        cancel.check()
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def _terminate(pid: int) -> None:
    """Asks the group to end, and waits a moment for its leader."""
    os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        time.sleep(POLL_S)


def _end_group(process: subprocess.Popen[bytes]) -> int:
    """Kills what is left of the group and waits until it is gone.

    The leader is reaped after the signal: before that its number, which is the group's, cannot have been given to
    anybody else.

    Returns:
        The leader's exit status, negative for a signal.
    """
    os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    deadline = time.monotonic() + GRACE_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(POLL_S / 10)
    return status


def only_files(
    python: str, request: HealthRequest, result: HealthResult, again: Callable[[HealthRequest], HealthResult]
) -> HealthResult:
    """What the level `auto` means where another environment's interpreter is gone, or cannot run the probe.

    That environment may have been on the disk that was reset, while this program was not.

    Args:
        python: the interpreter that was tried.
        request: what was asked for.
        result: what came of it.
        again: runs a request with the interpreter of this process.

    Returns:
        What the files alone say, and why it is no more; the result as it is in all other cases.
    """
    missing = result.outcome is HealthOutcome.MISSING_EXTRA
    if not missing or request.level is not HealthLevel.AUTO or python == sys.executable:
        return result
    files = again(replace(request, level=HealthLevel.FILES))
    parts = (f"only files were checked, with {sys.executable}: {result.detail}", files.detail)
    return replace(files, detail="; ".join(part for part in parts if part)[: health_json.MAX_DETAIL_CHARS])


def _end_kept(kept: KeptChild) -> None:
    """Ends a process that waits for a request, if it was started and has not ended."""
    process = kept.process()
    if process is not None:
        _end_group(process)
        strays.end_marked(kept.mark)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    kept.release()


def conclude(request: HealthRequest, status: int, content: bytes, last_words: str) -> HealthResult:
    """What an exit status (negative for a signal) and an answer mean."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return failed(request, HealthOutcome.CRASHED, f"ended by {name}{quoted(last_words)}")
    if status > 0 and _NO_MEMORY in last_words:
        return failed(request, HealthOutcome.OUT_OF_MEMORY, f"ended with exit status {status}{quoted(last_words)}")
    if status in _CANNOT_START:
        return failed(request, HealthOutcome.MISSING_EXTRA, f"the interpreter cannot be used{quoted(last_words)}")
    if status > 0:
        return failed(request, HealthOutcome.CRASHED, f"ended with exit status {status}{quoted(last_words)}")
    try:
        return health_json.decode_result(content)
    except health_json.HealthDocumentInvalid as error:
        return failed(request, HealthOutcome.CRASHED, f"{error.subject} {error.detail}{quoted(last_words)}")


def not_started(request: HealthRequest, python: str, error: OSError) -> HealthResult:
    """A result for an interpreter that cannot be started: what is missing is the one that was to bring torch along."""
    remedy = _NOT_STARTED.get(error.errno or 0, "")
    parts = (f"{python}: {error.strerror or error}", remedy)
    return failed(request, HealthOutcome.MISSING_EXTRA, "; ".join(part for part in parts if part))


def failed(request: HealthRequest, outcome: HealthOutcome, detail: str) -> HealthResult:
    """A result for a probe that gave none. What it did is unknown: at most what was asked for."""
    level = HealthLevel.FILES if request.level is HealthLevel.AUTO else request.level
    return HealthResult(outcome=outcome, level=level, detail=detail[: health_json.MAX_DETAIL_CHARS])


def quoted(last_words: str) -> str:
    """The end of a sentence that tells what the probe said last."""
    return f"; it last said: {last_words}" if last_words else ""

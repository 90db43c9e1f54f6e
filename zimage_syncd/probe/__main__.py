"""The probe's entry: `python -m zimage_syncd.probe`, or this file's path given to another environment's Python.

Reads one health request (JSON) from standard input and writes one health result to standard output, whatever the
libraries print. It lets no request leave the process, and ends with the process that started it. Where the environment
says so (`health.AHEAD_VARIABLE`), it imports what the request will need before it is there.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import importlib.util
import os
import signal
import sys
from typing import NoReturn

EXIT_REQUEST_INVALID = 3
EXIT_ORPHANED = 4
EXIT_PYTHON_TOO_OLD = 5

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""

_MAX_REASON_CHARS = 600
"""`conclusion.first_line` gives 500; names of tensors have no bound."""

_NICENESS = 5
"""Below the daemon's transfers and the user's own work."""


def main(arguments: list[str]) -> int:
    """Answers the request on standard input.

    Returns:
        0 where a result was written, whatever its outcome; 3 for a request that cannot be read; 4 where the process
        that started this one has already gone; 5 for a Python that is too old.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (another environment's Python may be older than this project's)
        sys.stderr.write(f"the probe needs Python 3.11 or newer, found {sys.version.split()[0]} at {sys.executable}\n")
        return EXIT_PYTHON_TOO_OLD
    parser = argparse.ArgumentParser(prog="python -m zimage_syncd.probe", description=__doc__)
    parser.add_argument("--parent", type=int, help="process id to end with")
    parser.add_argument("--plainly", default="", help="why the libraries' own loaders are to be used")
    parser.add_argument("--asked", type=float, help="when the request came (CLOCK_BOOTTIME), if not at the start")
    options = parser.parse_args(arguments)
    parent: int | None = options.parent
    if parent is not None and not _end_with(parent):
        return EXIT_ORPHANED
    output = _claim_stdout()
    faulthandler.enable()
    if not __package__:
        _make_package_importable()
    return _answer(output, options.plainly, options.asked)


def _answer(output: int, plainly: str, asked_s: float | None) -> int:
    from zimage_syncd.model import health, health_json  # noqa: PLC0415 (importable only now, when run by path)
    from zimage_syncd.probe import offline  # noqa: PLC0415

    offline.go_offline()
    from zimage_syncd.probe import ahead, check, conclusion  # noqa: PLC0415 (after the settings that libraries read)

    stream, limit_bytes = sys.stdin.buffer, health_json.MAX_REQUEST_BYTES + 1
    # Taken out, so that it is there neither for children nor for a process that this one becomes.
    layout = os.environ.pop(health.AHEAD_VARIABLE, "")
    if layout:
        asked, begun = ahead.import_until_asked(layout, stream, limit_bytes)
        if not asked:
            return EXIT_REQUEST_INVALID  # nobody wants to know anything
    else:
        asked, begun = stream.read(limit_bytes), ahead.Begun(asked_s)
    try:
        request = health_json.decode_request(asked)
    except health_json.HealthDocumentInvalid as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REQUEST_INVALID
    try:
        document = health_json.encode_result(check.check(request, plainly=plainly, begun=begun))
    except conclusion.Again as error:
        _start_again(asked, output, error.reason, begun.asked_s)
    with os.fdopen(output, "wb") as stream:
        stream.write(document)
    return 0


def _start_again(asked: bytes, output: int, reason: str, asked_s: float | None) -> NoReturn:
    """Becomes a fresh process of the same number, which imports and loads as the libraries themselves do."""
    how = f"loading again with the libraries' own loaders, for {reason}" if reason else "importing again, for all of it"
    sys.stderr.write(f"{how}\n")
    sys.stderr.flush()
    again = os.memfd_create("health-request")
    os.write(again, asked)
    os.lseek(again, 0, os.SEEK_SET)
    os.dup2(again, 0)
    os.dup2(output, 1)
    # It may quote a name out of a file: a NUL, or half of a surrogate pair, can be no argument.
    told = reason[:_MAX_REASON_CHARS].encode(errors="backslashreplace").decode().replace("\0", "\\0")
    more = [f"--plainly={told}", *([] if asked_s is None else ["--asked", repr(asked_s)])]
    os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), *sys.argv[1:], *more])  # noqa: S606


def _claim_stdout() -> int:
    """A descriptor of the real standard output; what is printed from here on goes to standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def _end_with(parent: int) -> bool:
    """Asks the kernel to kill this process when its parent ends; False where it has ended before that."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(_NICENESS)
    return os.getppid() == parent


def _make_package_importable() -> None:
    """Makes `zimage_syncd` importable, and nothing else of the place where it is installed.

    That place may be the `site-packages` of another environment, whose torch must not be found by this one; and this
    file's own directory holds names such as `files` that must not hide other modules.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    package = os.path.dirname(here)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    spec = importlib.util.spec_from_file_location(
        "zimage_syncd", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package in {package}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["zimage_syncd"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # No interpreter shutdown: the result is written, and the destructors of CUDA libraries may hang or crash.
    os._exit(status)

"""The command line as a process of its own, without the half second for its imports: forked from one that has them.

A *root* process imports the program, does nothing else, and stays at one thread. For each command it forks a process
with the command's environment, directory and output, that ends as an interpreter does: exit status, signals, open files
and memory are those of a process of its own. What differs is the start, so whoever asks for another language or time
zone gets a new process; tests of the start itself use `Machine.command`.

The health check's process has a root process of its own: forked_probe.py.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

_PROJECT = Path(__file__).parents[2]
_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_")
"""Variables that an interpreter, or C's library, reads once."""
_MAX_BYTES = 2**20


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether the root process would have started in the same way with these variables."""
    return _started_by(environment) == _started_by(os.environ)


def _started_by(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


def run(arguments: Iterable[str], environment: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs one command, as `subprocess.run` does with `python -m zimage_syncd` and both outputs captured."""
    asked = [sys.executable, "-m", "zimage_syncd", *arguments]
    code, out, errors = ask("tests.support.forked", asked[3:], environment, cwd)
    return subprocess.CompletedProcess(asked, code, out.decode(), errors.decode())


def ask(
    root: str, arguments: Iterable[str], environment: Mapping[str, str], cwd: Path, given: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Has a process forked from a root process.

    Args:
        root: the module that is run as the root process, and calls `serve`.
        arguments: of the process, as all of these.
        environment: all of its variables.
        cwd: where it works.
        given: its standard input.

    Returns:
        Exit status, standard output and standard error.
    """
    document = json.dumps([list(arguments), dict(environment), str(cwd)]).encode()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(given)
        files[0].seek(0)
        ended, status = os.pipe()
        descriptors = array.array("i", [*(file.fileno() for file in files), status])
        try:
            _connection(root).sendmsg([document], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        finally:
            os.close(status)
        with open(ended, "rb") as told:
            code = int(told.read())
        said = []
        for file in files[1:]:
            file.seek(0)
            said.append(file.read())
    return code, said[0], said[1]


@functools.cache
def _connection(root: str) -> socket.socket:
    """To this worker's root process of a kind; whole messages, for several threads may ask."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_BYTES)
    command = [sys.executable, "-m", root, str(theirs.fileno())]
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(requests: socket.socket) -> list[str]:
    """In a root process: forks for each request; returns the arguments in the process that is to run them."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for a command
    while True:
        document, descriptors, _, _ = socket.recv_fds(requests, _MAX_BYTES, 4)
        if not document:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            arguments, environment, cwd = json.loads(document)
            return _begin(arguments, environment, cwd, *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _begin(
    arguments: list[str], environment: dict[str, str], cwd: str, given: int, out: int, errors: int, status: int
) -> list[str]:
    """Makes of a fork what a new process would be; the one in between tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command:
        for descriptor in (given, out, errors):
            os.close(descriptor)
        _, ended = os.waitpid(command, 0)
        os.write(status, str(os.waitstatus_to_exitcode(ended)).encode())
        os._exit(0)
    os.close(status)
    for number, descriptor in enumerate((given, out, errors)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    random.seed()
    return arguments


if __name__ == "__main__":
    import boto3  # noqa: F401

    import zimage_syncd.duties
    import zimage_syncd.services  # noqa: F401
    from zimage_syncd.__main__ import main
    from zimage_syncd.cli import app  # noqa: F401

    # What is here before a fork stays where it is: a collection, or an orderly end, would copy all of it.
    gc.freeze()
    sys.argv = ["zimage-syncd", *serve(socket.socket(fileno=int(sys.argv[1])))]
    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)

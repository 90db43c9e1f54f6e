"""How the transfer sees its nursery (`nursery`): started, asked for processes, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

from zimage_syncd.process.pull_messages import HAND_WANTED, send

_END_WITHIN_S = 2.0

_OWN_VARIABLES = ("LD_LIBRARY_PATH", "PYTHONPATH")
"""What the interpreter of an installed copy sets for itself, and programs that boto3 starts must not see."""

_PROGRAM = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given.pop('paths');"
    " from zimage_syncd.pulling import main; main(**given)"
)
"""By the paths of this process: it may run from a copy, or from a directory that PYTHONPATH names."""


class Nursery:
    """The process that forks others."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection

    def ask_for_hand(self) -> socket.socket | None:
        """A connection to a process that will be there in a moment; None where as many are asked for as can be.

        Raises:
            OSError: the nursery is gone, or there are no descriptors left.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                send(self._connection, HAND_WANTED, theirs.fileno(), socket.MSG_DONTWAIT)
            except BlockingIOError:
                ours.close()
                return None
            except BaseException:
                ours.close()
                raise
        return ours

    def kill(self) -> None:
        """Ends it at once; the kernel ends those that it has forked with it."""
        self._process.kill()

    def close(self) -> None:
        """Ends it; those that it has forked end with it."""
        self._connection.close()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start(recipe: bytes) -> Nursery | None:
    """Starts a nursery, which ends with the thread that calls this; None where that is not possible here."""
    if not sys.executable or not hasattr(os, "pidfd_open"):
        return None
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        return None
    with theirs:
        try:
            ours.send(recipe)
            given = {
                "paths": [os.path.abspath(path) for path in sys.path],
                "parent": os.getpid(),
                "descriptor": theirs.fileno(),
                "environment": {name: os.environ.get(name) for name in _OWN_VARIABLES},
            }
            quiet = subprocess.DEVNULL
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(given)],
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            return None
    return Nursery(process, ours)

"""Runs the command line in a process that is killed at its Nth change to the disk.

`python tests/support/dying.py N ARGUMENTS…` counts the audit events (PEP 578) of calls that change something: opening
for writing, rename, link, symlink, unlink, mkdir, truncate, and pieces sent over HTTP. At the Nth it kills itself
with SIGKILL, before the call is made; with N = 0 it lives, and prints the count to the file named by $COUNT_FILE.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys

_CHANGING = frozenset(
    {
        "os.rename",
        "os.link",
        "os.symlink",
        "os.remove",
        "os.mkdir",
        "os.truncate",
        "os.chmod",
        "os.rmdir",
        "fcntl.ioctl",
    }
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    at = int(sys.argv[1])
    counter = itertools.count(1)
    seen = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & _WRITING:
                return
        elif event not in _CHANGING and not event.startswith(("sqlite3.", "http.client.send")):
            return
        seen[0] = next(counter)
        if seen[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.dont_write_bytecode = True
    from zimage_syncd.cli.app import run

    sys.addaudithook(hook)
    code = run(sys.argv[2:])
    if "COUNT_FILE" in os.environ:
        count = seen[0]
        with open(os.environ["COUNT_FILE"], "w", encoding="ascii") as file:
            file.write(str(count))
    sys.exit(code)


if __name__ == "__main__":
    main()

"""`rclone serve s3`: an odd S3 server. It ignores conditional writes and answers a Range with the whole object."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import processes
from tests.support.s3_server import S3Server

_OWNER = ("rclone-key", "rclone-secret-1234567890")


@contextmanager
def rclone_s3(directory: Path) -> Iterator[S3Server]:
    """A running server over a directory of its own."""
    data = directory / "data"
    data.mkdir(parents=True)
    (port,) = processes.free_ports(1)
    server = S3Server(f"http://127.0.0.1:{port}", *_OWNER)
    log = directory / "rclone.log"
    pid = processes.start(_command(port, data), log)
    try:
        processes.wait_until(server.answers, pid, log)
        yield server
    finally:
        processes.stop(pid)


def _command(port: int, data: Path) -> list[str]:
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or "rclone"
    address = ("--addr", f"127.0.0.1:{port}", "--auth-key", ",".join(_OWNER))
    return [rclone, "serve", "s3", *address, "--config", os.devnull, str(data)]

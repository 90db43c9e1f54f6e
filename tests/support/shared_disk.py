"""Several hosts on one data disk: each a process with a name and process ids of its own.

As a program (`python -m tests.support.shared_disk NAME EXPIRY_S ARGUMENTS...`) it is the command line of a host that
takes its data disk, whatever it is, for one that other hosts reach.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.machine import Machine
from zimage_syncd.cli.app import run
from zimage_syncd.cli.services import Services
from zimage_syncd.cli.session import Session
from zimage_syncd.clock import SystemClock
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.disk.observe import state_directory
from zimage_syncd.disk.shared_lease import SharedLease
from zimage_syncd.services import CacheServices

AS_ANOTHER_HOST = ("unshare", "--uts", "--pid", "--net", "--fork", "--kill-child")
"""A name, process ids and a network of its own: a lease's file does not tell it from another machine."""


@cache
def hosts_are_possible() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*AS_ANOTHER_HOST, "true"], capture_output=True, check=False).returncode == 0


def lease_on(directory: str, expiry_s: float, mount: str = "") -> SharedLease:
    """The lease of a data disk of which other hosts are said to reach it."""
    place = os.path.join(state_directory(directory, mount), "lease")
    return SharedLease(mount or directory, place, SystemClock(), lambda _: True, expiry_s)


@dataclass
class Host(Machine):
    """A machine whose data disk and bucket are another one's."""

    name: str = ""
    expiry_s: float = 1.0
    first: Machine | None = None

    @property
    def cache(self) -> Path:
        return self.first.cache if self.first is not None else super().cache

    @property
    def bucket(self) -> Path:
        return self.first.bucket if self.first is not None else super().bucket

    def command(self, *arguments: str, config: bool = True) -> list[str]:
        program = [sys.executable, "-m", "tests.support.shared_disk", self.name, str(self.expiry_s)]
        return [*AS_ANOTHER_HOST, *program, "--config", str(self.config), *arguments]


def child_of(process: subprocess.Popen[bytes], limit_s: float = 10) -> int:
    """The process that `unshare` has started, by the number that this side knows it by."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError("unshare has started nothing")


def wait_until(so: Callable[[], bool], limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


class SharedSession(Session):
    """A run of the command line on such a disk."""

    expiry_s = 1.0

    def services(self, pulse: Pulse | None = None) -> Services:
        config = self.configuration()
        monitor, cancel = (self.monitor(), self.stop) if pulse is None else (pulse, pulse)
        lease = lease_on(config.cache.dir, self.expiry_s, config.cache.mount)
        return CacheServices(config, monitor, cancel, verbose=self.verbose, lease=lease)


def main() -> int:
    name, expiry_s, *arguments = sys.argv[1:]
    socket.sethostname(name)
    SharedSession.expiry_s = float(expiry_s)
    return run(arguments, SharedSession)


if __name__ == "__main__":
    sys.exit(main())

"""Resets on a machine with a GPU: from the start of the daemon to the first picture.

Part `reset` of `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """zimage-syncd with one configuration."""

    config: Path
    environment: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        """How it is called."""
        return [sys.executable, "-m", "zimage_syncd", "--config", str(self.config), *words]

    def run(self, *words: str) -> None:
        """To its end, whatever that is."""
        subprocess.run(self.command(*words), env=self.environment, check=False)

    def timed(self, title: str, *words: str) -> None:
        """The same, and says how long it took."""
        began_s = time.perf_counter()
        self.run(*words)
        print(f"{title}: {time.perf_counter() - began_s:.2f} s", flush=True)


class Resets:
    """With the data disk intact, and with only the bucket.

    Args:
        program: has made a backup.
        place: has its `link` and its `state`, as the configuration says; the daemon's log is written there.
        home: the cache.
    """

    def __init__(self, program: Program, place: Path, home: Path) -> None:
        self._program, self._place, self._home = program, place, home

    def run(self, runs: int) -> None:
        """Beside the resets a health check and a restore alone, which they are made of."""
        self._program.run("restore")
        self._daemon((self._place / "state" / "mark.json").exists)  # so that a reset is one
        for _ in range(runs):
            self._program.timed("a health check alone", "health")
            self._reset("the system disk")
            self._lose_cache()
            self._program.timed("a restore alone", "restore")
            self._reset("both disks")

    def _lose_cache(self) -> None:
        shutil.rmtree(self._home)
        self._home.mkdir()

    def _reset(self, lost: str) -> None:
        shutil.rmtree(self._place / "state", ignore_errors=True)
        (self._place / "link").unlink(missing_ok=True)
        if lost == "both disks":
            self._lose_cache()
        reports = self._home / ".zimage-syncd" / "pictures"
        before = set(reports.glob("*.png"))
        linked_s: list[float] = []

        def pictured() -> bool:
            if not linked_s and (self._place / "link").is_symlink():
                linked_s.append(time.perf_counter() - began_s)
            return bool(set(reports.glob("*.png")) - before)

        began_s = time.perf_counter()
        pictured_s, most_rss, after = self._daemon(pictured)
        print(
            f"lost {lost}: link after {linked_s[0]:.2f} s, first picture after {pictured_s:.2f} s; the daemon held at"
            f" most {most_rss / 2**20:.0f} MiB, afterwards {after / 2**20:.0f}",
            flush=True,
        )
        for line in (self._place / "daemon.log").read_text().splitlines():
            if "(generate)" in line:
                print(f"  {json.loads(line)['detail']}", flush=True)

    def _daemon(self, done: Callable[[], bool]) -> tuple[float, int, int]:
        """Runs the daemon until something is seen: seconds until then, its most memory, and what it has 3 s later."""
        began_s, most_rss = time.perf_counter(), 0
        with (self._place / "daemon.log").open("w") as log:
            command = self._program.command("run")
            daemon = subprocess.Popen(command, env=self._program.environment, stdout=log, stderr=log)
            try:
                while not done():
                    if daemon.poll() is not None or time.perf_counter() - began_s > 200:
                        raise RuntimeError((self._place / "daemon.log").read_text()[-4000:])
                    most_rss = max(most_rss, _rss_of(daemon.pid))
                    time.sleep(0.02)
                taken_s = time.perf_counter() - began_s
                time.sleep(3.0)
                return taken_s, most_rss, _rss_of(daemon.pid)
            finally:
                daemon.terminate()
                daemon.wait()


def _rss_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""What the daemon costs: until the cache link is back after a reset, while nothing happens, and during a download.

    python -m benchmarks.daemon
    python -m benchmarks.daemon --idle-s 60 --files 20000 --only idle

Times and figures are those of the daemon's process alone, from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.caches import hf_snapshot
from tests.support.tiny_safetensors import pipeline_files

_TICKS = os.sysconf("SC_CLK_TCK")
_LARGE = 33_000_000_000
"""Bytes of the large cache, sparse: the daemon does not read them while it is idle."""


@dataclass(frozen=True)
class Figures:
    """Of a process at one moment."""

    cpu_s: float
    rss_mib: float
    read_bytes: int
    write_bytes: int

    @classmethod
    def of(cls, process: int) -> Figures:
        """Read from /proc."""
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        io = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
        return cls(cpu_s, int(status["VmRSS"].split()[0]) / 1024, int(io["read_bytes"]), int(io["write_bytes"]))


class Site:
    """A cache, its link on a "system disk", and a configuration."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cache = place / "data/cache"
        self.link = place / "system/model_cache"
        self.cache.mkdir(parents=True)
        self.config = place / "zimage-syncd.toml"

    def configure(self, *, backup: bool) -> None:
        """Writes it; backups go to a directory."""
        store = f'[stores.store]\nurl = "file://{self.place}/store"\n' if backup else ""
        self.config.write_text(
            f'[cache]\ndir = "{self.cache}"\nlinks = ["{self.link}"]\n{store}[health]\nafter = []\n'
            f'[daemon]\nstate_dir = "{self.place}/system/state"\nlog = "json"\n'
        )

    @contextlib.contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """The running daemon."""
        command = [sys.executable, "-m", "zimage_syncd", "--config", str(self.config), "run"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with open(self.place / "daemon.log", "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until the daemon has said something so often."""
        while (self.place / "daemon.log").read_text().count(text) < count:
            time.sleep(0.05)


def main() -> None:
    """Parses, builds, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="starts")
    parser.add_argument("--idle-s", type=int, default=600)
    parser.add_argument("--files", type=int, default=100_000, help="of the cache with many files")
    parser.add_argument("--megabytes", type=int, default=4100, help="of the download")
    parser.add_argument("--place", default=None, help="where everything lies; default: the temporary directory")
    parser.add_argument("--only", default="", help="the group whose name holds this")
    options = parser.parse_args()
    for name, measure in {
        "start": lambda site: _start(site, options.runs),
        "idle, 25 files": lambda site: _idle(site, options.idle_s, 25),
        "idle, many files": lambda site: _idle(site, options.idle_s, options.files),
        "idle, after a backup": lambda site: _idle(site, options.idle_s, 25, backup=True),
        "download": lambda site: _download(site, options.megabytes),
    }.items():
        if options.only in name:
            with tempfile.TemporaryDirectory(dir=options.place) as place:
                measure(Site(Path(place)))


def _start(site: Site, runs: int) -> None:
    """From the process's start to the link, after a reset with the data disk intact."""
    site.configure(backup=True)
    hf_snapshot(site.cache, pipeline_files())
    walls, cpus = [], []
    for _ in range(runs + 1):  # the first one writes the identity, and compiles modules
        shutil.rmtree(site.place / "system", ignore_errors=True)
        began_s = time.monotonic()
        with site.daemon() as process:
            while not site.link.is_symlink():
                time.sleep(0.001)
            walls.append(time.monotonic() - began_s)
            cpus.append(Figures.of(process.pid).cpu_s)
            time.sleep(1)
    wall, cpu = statistics.median(walls[1:]), statistics.median(cpus[1:])
    print(f"start to link, {runs} runs: {wall:.2f} s ({min(walls[1:]):.2f} to {max(walls[1:]):.2f}), {cpu:.2f} CPU-s")


def _idle(site: Site, idle_s: int, files: int, *, backup: bool = False) -> None:
    site.configure(backup=backup)
    if files > 25:
        hf_snapshot(site.cache, {f"data/{number // 1000}/{number}.txt": b"%d" % number for number in range(files - 25)})
    hf_snapshot(site.cache, pipeline_files(), repo="org/large")
    sparse = site.cache / "hub/models--org--large/blobs/sparse"
    with sparse.open("wb") as file:
        file.truncate(_LARGE)
    with site.daemon() as process:
        site.wait_for("finished")
        if backup:
            site.wait_for('"job": "backup"')
        time.sleep(70)  # what begins with the start is over
        before, most = Figures.of(process.pid), 0.0
        end_s = time.monotonic() + idle_s
        while time.monotonic() < end_s:
            most = max(most, Figures.of(process.pid).rss_mib)
            time.sleep(1)
        after = Figures.of(process.pid)
    cpu_s = after.cpu_s - before.cpu_s
    print(
        f"idle for {idle_s} s, {files} files{', after a backup' if backup else ''}: {most:.0f} MiB, {cpu_s:.2f} CPU-s"
        f" = {cpu_s / idle_s:.3%} of a core, {after.read_bytes - before.read_bytes} bytes read from disks,"
        f" {after.write_bytes - before.write_bytes} written"
    )


def _download(site: Site, megabytes: int) -> None:
    """Somebody writes the data set's files into the cache, as a library does: a temporary name, then the final one."""
    site.configure(backup=True)  # only then is the cache itself watched
    with site.daemon() as process:
        site.wait_for("finished")
        time.sleep(2)
        before, began_s = Figures.of(process.pid).cpu_s, time.monotonic()
        words = "import sys; from pathlib import Path; from benchmarks.dataset import build; "
        words += "build(Path(sys.argv[1]), int(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", words, str(site.cache), str(megabytes)], check=True)
        elapsed_s = time.monotonic() - began_s
        cpu_s = Figures.of(process.pid).cpu_s - before
    print(f"download of {megabytes} MB in {elapsed_s:.1f} s: {cpu_s:.2f} CPU-s = {cpu_s / elapsed_s:.2%} of a core")


if __name__ == "__main__":
    main()

"""Measures commands beside each other: interleaved runs, medians, ratios; wall, CPU of both sides, peak memory.

Single times of a shared machine lie, so every case of a round is run before the next round begins, and only the ratio
of two medians of one run is worth quoting.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_SAMPLE_S = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one run of one case took."""

    wall_s: float
    """From the start of the first command to the end of the last one."""
    cpu_s: float
    """User and system time of the commands with all their children."""
    server_cpu_s: float
    """The same of the server meanwhile; 0 without one."""
    peak_rss_bytes: int
    """The most that all processes of a command held at one time, seen every 20 ms."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Something that is measured."""

    name: str
    """In the table."""
    commands: Sequence[Sequence[str]]
    """Run one after the other inside the measured time; each must succeed."""
    size_bytes: int
    """What is moved or read, for the rate."""
    before: Callable[[], None] = lambda: None
    """Run before each measurement, not measured."""
    after: Callable[[], None] = lambda: None
    """The same, afterwards; checks and cleans up."""
    ends: Sequence[int] = (0,)
    """Exit codes that are a success."""


class Harness:
    """Runs groups of cases and keeps what they took.

    Args:
        environment: of the commands.
        server_pid: whose CPU time is counted as the server's; None without one.
    """

    def __init__(self, environment: Mapping[str, str], server_pid: int | None = None) -> None:
        # An installed package has its bytecode; a shell that forbids to write it would measure the compiler.
        self.environment = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.server_pid = server_pid
        self.groups: dict[str, dict[str, list[Sample]]] = {}
        self.sizes: dict[str, dict[str, int]] = {}

    def run(self, title: str, cases: Sequence[Case], runs: int) -> None:
        """Measures a group, interleaved, and prints its table; the first case is what the others are compared with."""
        samples: dict[str, list[Sample]] = {case.name: [] for case in cases}
        for number in range(runs):
            # Each round begins with another one: what a case leaves in memory is not always the same one's advantage.
            first = number % len(cases)
            for case in [case for case in (*cases[first:], *cases[:first]) if case.name in samples]:
                print(f"\r\x1b[K{title}: {number + 1}/{runs} {case.name}", end="", file=sys.stderr, flush=True)
                try:
                    samples[case.name].append(self.measure(case))
                except FileNotFoundError as error:
                    print(f"\r\x1b[K{title}: left out, {error.filename} is not installed: {case.name}", file=sys.stderr)
                    del samples[case.name]
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        self.groups[title] = samples
        self.sizes[title] = {case.name: case.size_bytes for case in cases}
        print(self.table(title), flush=True)

    def measure(self, case: Case) -> Sample:
        """One run of one case."""
        case.before()
        server_before, children_before = cpu_of(self.server_pid), _cpu_of_children()
        began = time.monotonic()
        peak = max(self._finish(case, command) for command in case.commands)
        sample = Sample(
            time.monotonic() - began,
            _cpu_of_children() - children_before,
            cpu_of(self.server_pid) - server_before,
            peak,
        )
        case.after()
        return sample

    def _finish(self, case: Case, command: Sequence[str]) -> int:
        """Runs one command to its end; the most memory that it held, in bytes."""
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        watcher = _PeakWatcher(process.pid)
        output, _ = process.communicate()
        peak = watcher.stop()
        if process.returncode not in case.ends:
            words = output.decode(errors="replace")[-2000:]
            raise RuntimeError(f"{case.name}: {' '.join(command)} gave {process.returncode}: {words}")
        return peak

    def table(self, title: str) -> str:
        """One group as a Markdown table."""
        samples = self.groups[title]
        first = statistics.median(sample.wall_s for sample in next(iter(samples.values())))
        lines = [
            f"**{title}**",
            "",
            "| what | wall s (least to most) | × ours | MB/s | CPU s | server CPU s | peak RSS MiB |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name, taken in samples.items():
            walls = sorted(sample.wall_s for sample in taken)
            wall = statistics.median(walls)
            cpu = statistics.median(sample.cpu_s for sample in taken)
            server = statistics.median(sample.server_cpu_s for sample in taken)
            rss = max(sample.peak_rss_bytes for sample in taken) / 2**20
            rate = self.sizes[title][name] / wall / 1e6
            lines.append(
                f"| {name} | {wall:.2f} ({walls[0]:.2f} to {walls[-1]:.2f}) | {wall / first:.2f} | {rate:.0f} |"
                f" {cpu:.2f} | {server:.2f} | {rss:.0f} |"
            )
        return "\n".join(lines) + "\n"

    def save(self, path: Path) -> None:
        """Writes everything that was measured as JSON; other groups of the same file stay in it."""
        before = json.loads(path.read_text())["groups"] if path.exists() else {}
        document = {
            "machine": machine(),
            "groups": before
            | {
                title: {name: [dataclasses.asdict(sample) for sample in taken] for name, taken in samples.items()}
                for title, samples in self.groups.items()
            },
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def machine() -> dict[str, object]:
    """What it was measured on."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "cpu": names[0] if names else "unknown",
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def cpu_of(pid: int | None) -> float:
    """Seconds of user and system time that a process has used so far."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


class _PeakWatcher:
    """Looks at the memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The most that was seen, in bytes."""
        self._done.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self._peak = max(self._peak, _rss_of_tree(self._pid))


def _rss_of_tree(pid: int) -> int:
    total = 0
    try:
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                total += _rss_of_tree(int(child))
    except OSError:
        pass
    return total

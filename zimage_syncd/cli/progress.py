"""Progress on standard error: a bar with bytes, rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TextIO

from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.ports import Monitor
from zimage_syncd.report.words import duration, plain, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY_S = 5.0
_NOTHING_BELOW_BYTES = 32 * 2**20
"""A task smaller than this is over before its line is read."""

_SAYS_LITTLE_BELOW = 0.001
"""What is done of a task before its rate says when it ends: the first bytes come while much is still being opened."""


def open_progress(stream: TextIO, *, quiet: bool) -> Monitor:
    """The monitor that fits the stream.

    Args:
        stream: standard error.
        quiet: say nothing (with --json, where only the document counts and no terminal watches).
    """
    if quiet and not stream.isatty():
        return SilentProgress()
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


class SilentProgress:
    """Says nothing."""

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        """Says nothing."""

    def advance(self, count_bytes: int) -> None:
        """Says nothing."""

    def note(self, text: str) -> None:
        """Says nothing."""

    def finish(self) -> None:
        """Says nothing."""


class LineProgress:
    """A line every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._task = ""
        self._total_bytes = self._done_bytes = 0
        self._began_s = self._told_s = 0.0

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:  # noqa: ARG002
        """A task starts."""
        with self._lock:
            self._task, self._total_bytes, self._done_bytes = task, total_bytes, 0
            self._began_s = self._told_s = time.monotonic()
            if total_bytes >= _NOTHING_BELOW_BYTES:
                self._say(f"{task}: {size(total_bytes)}")

    def advance(self, count_bytes: int) -> None:
        """So many more bytes are done."""
        with self._lock:
            self._done_bytes += count_bytes
            now_s = time.monotonic()
            if now_s - self._told_s >= _LINE_EVERY_S:
                self._told_s = now_s
                self._say(self._line(now_s - self._began_s))

    def _line(self, elapsed_s: float) -> str:
        done_bytes = max(0, self._done_bytes)
        rate = done_bytes / max(elapsed_s, 0.001)
        if not self._total_bytes:
            return f"{self._task}: {size(done_bytes)}, {size(rate)}/s"
        line = f"{self._task}: {size(done_bytes)} of {size(self._total_bytes)}, {size(rate)}/s"
        if done_bytes < self._total_bytes * _SAYS_LITTLE_BELOW:
            return line
        return f"{line}, {duration(max(0, self._total_bytes - done_bytes) / rate)} left"

    def note(self, text: str) -> None:
        """A sentence for people."""
        with self._lock:
            self._say(text)

    def finish(self) -> None:
        """The task has ended."""
        with self._lock:
            if self._total_bytes >= _NOTHING_BELOW_BYTES:
                self._say(f"{self._task}: done in {duration(time.monotonic() - self._began_s)}")
            self._task = ""

    def _say(self, text: str) -> None:
        print(plain(text), file=self._stream, flush=True)


class BarProgress:
    """A bar by rich, which is imported only where there is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:  # noqa: ARG002
        """A task starts."""
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.table import Column  # noqa: PLC0415

        self.finish()
        whole = Column(no_wrap=True)
        columns = (
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            BarColumn(bar_width=16),
            DownloadColumn(table_column=whole),
            TransferSpeedColumn(table_column=whole),
        )
        console = Console(file=self._stream)
        self._progress = Progress(
            *columns, TimeRemainingColumn(table_column=whole), console=console, transient=True, expand=True
        )
        self._task = self._progress.add_task(plain(task), total=total_bytes or None)
        self._progress.start()

    def advance(self, count_bytes: int) -> None:
        """So many more bytes are done."""
        # Read once: another thread may end the task at any moment.
        progress, task = self._progress, self._task
        if progress is not None and task is not None:
            progress.advance(task, count_bytes)

    def note(self, text: str) -> None:
        """A sentence for people."""
        progress = self._progress
        if progress is None:
            print(plain(text), file=self._stream, flush=True)
        else:
            # Above the bar; written past rich it would be drawn over.
            progress.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """The task has ended."""
        progress, self._progress, self._task = self._progress, None, None
        if progress is not None:
            progress.stop()

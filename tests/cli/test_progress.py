"""Progress: a bar on a terminal, few plain lines elsewhere, nothing beside a JSON document; safe from threads."""

from __future__ import annotations

import io
import os
import pty
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from zimage_syncd.cli.progress import BarProgress, LineProgress, SilentProgress, open_progress

BIG = 64 * 2**20


class TestLines:
    def test_a_long_task_has_its_beginning_and_its_end(self) -> None:
        stream = io.StringIO()
        progress = LineProgress(stream)
        progress.begin("restore org/name", BIG)
        progress.advance(BIG)
        progress.finish()
        first, last = stream.getvalue().splitlines()
        assert first == "restore org/name: 67.11 MB"
        assert last.startswith("restore org/name: done in ")

    def test_many_pieces_are_no_many_lines(self) -> None:
        stream = io.StringIO()
        progress = LineProgress(stream)
        progress.begin("restore org/name", BIG)
        for _ in range(10_000):
            progress.advance(BIG // 10_000)
        assert stream.getvalue().count("\n") == 1

    def test_a_small_task_says_nothing(self) -> None:
        stream = io.StringIO()
        progress = LineProgress(stream)
        progress.begin("restore org/name", 1000)
        progress.advance(1000)
        progress.finish()
        assert stream.getvalue() == ""

    def test_a_line_has_bytes_rate_and_remaining_time(self) -> None:
        progress = LineProgress(io.StringIO())
        progress.begin("restore org/name", 30_000_000)
        progress.advance(10_000_000)
        assert progress._line(2.0) == "restore org/name: 10.00 MB of 30.00 MB, 5.00 MB/s, 4.0 s left"

    def test_nothing_is_foretold_of_the_first_bytes(self) -> None:
        progress = LineProgress(io.StringIO())
        progress.begin("restore org/name", 33_000_000_000)
        progress.advance(4_000)
        assert progress._line(5.0) == "restore org/name: 4.00 kB of 33.00 GB, 800 B/s"
        progress.advance(33_000_000)
        assert progress._line(5.0).endswith(", 1 h 23 min left")

    def test_what_was_taken_back_does_not_break_it(self) -> None:
        progress = LineProgress(io.StringIO())
        progress.begin("restore org/name", 30_000_000)
        progress.advance(-10_000_000)
        assert progress._line(2.0) == "restore org/name: 0 B of 30.00 MB, 0 B/s"
        progress.begin("hash", 0)
        assert progress._line(0.0) == "hash: 0 B, 0 B/s"

    def test_names_cannot_command_the_terminal(self) -> None:
        stream = io.StringIO()
        progress = LineProgress(stream)
        progress.begin("restore \x1b[2J", BIG)
        progress.note("a\x1b[2J")
        assert "\x1b" not in stream.getvalue()


class TestChoice:
    def test_a_pipe_gets_lines_and_nothing_beside_json(self) -> None:
        assert isinstance(open_progress(io.StringIO(), quiet=False), LineProgress)
        assert isinstance(open_progress(io.StringIO(), quiet=True), SilentProgress)

    def test_a_terminal_gets_a_bar_also_beside_json(self, terminal: Terminal) -> None:
        assert isinstance(open_progress(terminal.stream, quiet=True), BarProgress)


class Terminal:
    """A pseudo terminal: what is written to its stream is what a person would see."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self._master, 4096):
                self._seen += piece
        except OSError:
            pass  # the other end is closed

    def close(self) -> str:
        if not self.stream.closed:
            self.stream.close()
            self._reader.join()
            os.close(self._master)
        return self._seen.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    yield terminal
    terminal.close()


class TestBar:
    def test_it_shows_bytes_and_what_is_said_meanwhile(self, terminal: Terminal) -> None:
        progress = BarProgress(terminal.stream)
        progress.begin("restore [bold]org/name", 30_000_000)
        progress.advance(10_000_000)
        progress.note("bucket: [red]not \x1b]0;reachable")
        progress.finish()
        progress.note("afterwards")
        seen = terminal.close()
        assert "restore [bold]org/name" in seen
        assert "30.0 MB" in seen
        assert "bucket: [red]not \\x1b]0;reachable" in seen
        assert "\x1b]0;" not in seen
        assert "afterwards" in seen

    def test_a_bar_that_ends_while_others_advance_breaks_nobody(self, terminal: Terminal) -> None:
        progress = BarProgress(terminal.stream)
        failures: list[BaseException] = []

        def advance() -> None:
            try:
                for _ in range(2000):
                    progress.advance(1)
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=advance) for _ in range(4)]
        for worker in workers:
            worker.start()
        for number in range(20):
            progress.begin(f"task {number}", 1000)
            progress.finish()
        for worker in workers:
            worker.join()
        assert failures == []

    def test_an_end_without_a_beginning_is_nothing(self, terminal: Terminal) -> None:
        progress = BarProgress(terminal.stream)
        progress.finish()
        progress.advance(1)
        assert terminal.close() == ""

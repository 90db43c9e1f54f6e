"""Quantities and names as people read them."""

from __future__ import annotations

import pytest

from zimage_syncd.report.words import count, duration, plain, size


@pytest.mark.parametrize(
    ("count_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (32_880_000_000, "32.88 GB"), (999_999, "1.00 MB"), (-5, "-5 B")],
)
def test_sizes_are_decimal(count_bytes: int, text: str) -> None:
    assert size(count_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.04 s"), (12.34, "12.3 s"), (84, "1 min 24 s"), (119.6, "2 min 0 s"), (7384, "2 h 3 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_have_their_plural() -> None:
    assert (count(1, "file"), count(0, "file"), count(1234, "file")) == ("1 file", "0 files", "1,234 files")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain ü …", "plain ü …"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eabc", "\\u202eabc"),
        ("raw \udcff", "raw \\udcff"),
    ],
)
def test_no_name_commands_a_terminal(name: str, shown: str) -> None:
    assert plain(name) == shown
    plain(name).encode()

"""Sizes, rates and durations as people write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zimage_syncd.config.units import duration_s, rate_bytes_per_s, size_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("0", 0),
        ("7", 7),
        ("50GB", 50 * 10**9),
        ("50 GiB", 50 * 2**30),
        ("1.5mb", 1_500_000),
        ("1TiB", 2**40),
    ],
)
def test_sizes(text: str, expected: int | None) -> None:
    assert size_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("", None), ("200MB/s", 200 * 10**6), ("1 MiB / s", 2**20)])
def test_rates(text: str, expected: int | None) -> None:
    assert rate_bytes_per_s(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("24h", 86400), ("30min", 1800), ("1.5m", 90), ("90s", 90), ("7d", 604800)]
)
def test_durations(text: str, expected: float) -> None:
    assert duration_s(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((size_bytes, text) for text in ("lots", "-1GB", "1 XB", "GB", "1GB/s", "1e3", "٣GB")),
        *((rate_bytes_per_s, text) for text in ("200MB", "200MB/h", "0MB/s", "/s", "fast")),
        *((duration_s, text) for text in ("", "24", "soon", "-1h", "1w")),
    ],
)
def test_what_is_none_is_refused_with_an_example(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse(text)

"""Sizes, rates and durations as people write them."""

from __future__ import annotations

import re

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZES["TIB"] = 2**40
_DURATIONS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def size_bytes(text: str) -> int | None:
    """`50GB` in bytes (MB is 10^6, MiB is 2^20); None for an empty text.

    Raises:
        ValueError: it is no size.
    """
    if not text.strip():
        return None
    match = _NUMBER.fullmatch(text)
    if match is None or match[2].upper() not in _SIZES:
        raise ValueError(f"expected a size such as 50GB or 512MiB, found {text!r}")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def rate_bytes_per_s(text: str) -> int | None:
    """`200MB/s` in bytes a second; None for an empty text.

    Raises:
        ValueError: it is no rate.
    """
    if not text.strip():
        return None
    amount, slash, per = text.partition("/")
    try:
        rate = size_bytes(amount)
    except ValueError:
        rate = None
    if not rate or not slash or per.strip() != "s":
        raise ValueError(f"expected a rate above 0 such as 200MB/s, found {text!r}")
    return rate


def duration_s(text: str) -> float:
    """`24h` in seconds.

    Raises:
        ValueError: it is no duration.
    """
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in _DURATIONS:
        raise ValueError(f"expected a duration such as 24h, 30min or 90s, found {text!r}")
    return float(match[1]) * _DURATIONS[match[2]]

"""Quantities and names as people read them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def size(count_bytes: float) -> str:
    """`32.88 GB`: decimal units, as disks and networks are sold."""
    value = float(count_bytes)
    unit = 0
    while abs(value) >= 999.995 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.2f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """`1 min 24 s`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plain(text: str) -> str:
    """Names from caches and stores without control characters, so that no name can command a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

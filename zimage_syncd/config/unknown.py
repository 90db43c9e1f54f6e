"""What to say of a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_LISTED = 30


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known name, or all of them where they are few.

    Args:
        what: key, table, variable.
        name: what was found.
        known: what would have been right.
    """
    choices = sorted(known)
    sentence = f"unknown {what} {name!r}"
    if near := difflib.get_close_matches(name, choices, n=1):
        return f"{sentence}; did you mean {near[0]}?"
    return f"{sentence}; known are {', '.join(choices)}" if 0 < len(choices) <= _MOST_LISTED else sentence

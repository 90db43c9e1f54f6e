"""What to say of a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known names.

    Args:
        what: key, table, variable.
        name: what was found.
        known: what would have been right.
    """
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(choices)}"
    return f"unknown {what} {name!r}; {hint}"

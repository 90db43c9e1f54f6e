"""Absolute paths in the configuration: what may be one, and which lie in each other."""

from __future__ import annotations

import os


def objection(path: str) -> str | None:
    """What is wrong with an absolute path; None where nothing is.

    Args:
        path: without a slash at its end.
    """
    if not path.isprintable():
        return f"expected a path without control characters, found {path!r}"
    if not path.startswith("/") or path.startswith("//") or os.path.normpath(path) != path:
        return f"expected an absolute path without `..`, found {path!r}"
    return None


def inside(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies below it."""
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")


def overlap(one: str, other: str) -> bool:
    """Whether two paths are equal or one lies in the other."""
    return inside(one, other) or inside(other, one)


def file_on_the_way(place: str) -> str | None:
    """What lies where an absolute path needs a directory; None where nothing does."""
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    return None if os.path.isdir(place) else place

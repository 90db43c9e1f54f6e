"""Whether a pointer was damaged, or moved or written anew by its library."""

from __future__ import annotations

import json
import re

_COMMIT = re.compile(rb"\s*[0-9a-f]{40}\s*")


def is_damaged_pointer(path: str, found: bytes, recorded: str) -> bool:
    """Whether a pointer's content can only be damage.

    Args:
        path: from the cache directory.
        found: what lies on the disk.
        recorded: what the manifest has.
    """
    if found == recorded.encode():
        return False
    if "/trees/" in path:
        return is_damaged_list(found, recorded)
    # A reference may name another commit by now, but nothing else than a commit.
    return "/refs/" in path and is_commit(recorded.encode()) and not is_commit(found)


def is_commit(text: bytes) -> bool:
    """Whether a text may be a reference's, to which somebody may have added a line end."""
    return _COMMIT.fullmatch(text) is not None


def is_damaged_list(found: bytes, recorded: str) -> bool:
    """Whether a list's content can only be damage.

    Args:
        found: what lies on the disk.
        recorded: what the manifest has. The list of a commit is immutable, but a later library may write it in a later
            format; that is no damage.
    """
    if found == recorded.encode():
        return False
    version = _version(found)
    return version is None or version == _version(recorded.encode())


def is_list(text: bytes) -> bool:
    """Whether a text may be a list of some version."""
    return _version(text) is not None


def _version(text: bytes) -> object:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document.get("format_version") if isinstance(document, dict) else None

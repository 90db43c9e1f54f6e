"""Whether a list of a commit's files (`trees/<commit>.json`) was damaged, or written anew by a later library."""

from __future__ import annotations

import json


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


def _version(text: bytes) -> object:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document.get("format_version") if isinstance(document, dict) else None

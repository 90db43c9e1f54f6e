"""Which keys objects may have, and the hidden names under which unfinished objects lie in directories.

One rule for all stores, so that an archive that works in one of them works in each. Touches nothing.
"""

from __future__ import annotations

import re
import secrets

from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.path import MAX_PART_BYTES, RelPath

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.(?P<owner>[A-Za-z0-9_-]{1,40})\.upload", re.DOTALL)

_PLAIN_KEY = re.compile(r"(?:[\w%~-][\w%~.-]*/)*[\w%~-][\w%~.-]*", re.ASCII)
"""Parts without anything special: no dot at their beginning."""


def checked_key(key: str) -> RelPath:
    """An object's key, below the store's prefix.

    Raises:
        UnsafePath: it could escape the prefix, holds what not every store keeps as it is (backslashes, control
            characters, what is not Unicode), or is the hidden name of an unfinished object.
    """
    path = RelPath(key)
    _require_portable(path)
    if object_name(path.name) is not None:
        raise UnsafePath(repr(key)[:300], "is the name of an unfinished object")
    return path


def checked_prefix(prefix: str) -> str:
    """The beginning of keys; empty, or ending anywhere in a key.

    Raises:
        UnsafePath: no key begins so.
    """
    if prefix:
        _require_portable(RelPath(prefix.removesuffix("/")))
    return prefix


def is_key(key: str) -> bool:
    """Whether a name that a store lists is an object's key, and not something that others put there."""
    if len(key) <= MAX_PART_BYTES and _PLAIN_KEY.fullmatch(key) is not None:
        return True  # nearly every one; an archive of 100,000 blobs has as many
    try:
        checked_key(key)
    except UnsafePath:
        return False
    return True


def owner_mark(owner: str) -> str:
    """What of an owner's name goes into hidden names: 1 to 40 letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", owner)[:40] or "unknown"


def temporary_name(name: str, owner: str) -> str:
    """A new hidden name, in the same directory, for the object `name` while it is written.

    A name that would become too long for a file system is cut: `object_name` then gives its beginning.

    Args:
        name: the last part of the key.
        owner: as `owner_mark` gives it.
    """
    tail = f".{secrets.token_hex(8)}.{owner}.upload"
    room = MAX_PART_BYTES - len(tail) - 1
    return f".{name.encode()[:room].decode(errors='ignore')}{tail}"


def object_name(temporary: str) -> str | None:
    """The name of the object that a hidden name stands for, or None where it is not one of those."""
    match = _TEMPORARY.fullmatch(temporary) if temporary.startswith(".") else None
    return match["name"] if match else None


def owner_of(temporary: str) -> str | None:
    """Whose unfinished object a hidden name stands for, or None where it is not one of those."""
    match = _TEMPORARY.fullmatch(temporary)
    return match["owner"] if match else None


def in_key_order(names: dict[str, bool]) -> list[str]:
    """A directory's entries in the order in which a walk gives whole keys by code points.

    Args:
        names: each entry, and whether it is a directory: those sort as if their name ended in `/`.
    """
    return sorted(names, key=lambda name: f"{name}/" if names[name] else name)


def _require_portable(path: str) -> None:
    if path.isascii() and path.isprintable() and "\\" not in path:
        return
    # SeaweedFS 4.48 makes slashes of backslashes, and XML listings have no way to write most control characters.
    if any(char == "\\" or char < " " or char == "\x7f" for char in path):
        raise UnsafePath(repr(path)[:300], "holds a backslash or a control character")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UnsafePath(repr(path)[:300], "is not Unicode") from error

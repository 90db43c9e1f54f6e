"""Names that are never part of a snapshot: secrets, locks, temporary files, and this program's own state.

One list for manifests (which are refused when they hold one) and for layouts (which pass over them).
"""

from __future__ import annotations

import functools
import re

STATE_DIRECTORY = ".zimage-syncd"
"""Where this program keeps what must outlive a reset; beside the caches on the data disk."""

PARTIAL_PREFIX = ".zimage-syncd-"
PARTIAL_SUFFIX = ".partial"
"""Files that this program is still writing: `.zimage-syncd-<hash>.partial`."""

_NAMES = frozenset({".locks", ".lock", "._____temp", STATE_DIRECTORY})
"""`.locks` and `.lock` are the locks of huggingface_hub and modelscope_hub; `._____temp` is ModelScope's directory of
unfinished downloads (modelscope_hub/constants.py: TEMPORARY_FOLDER_NAME)."""

_AT_THE_TOP = frozenset({"token", "stored_tokens", "xet", "credentials"})
"""huggingface_hub's secrets (constants.py: HF_TOKEN_PATH, HF_STORED_TOKENS_PATH), hf_xet's cache, and ModelScope's
credentials. Deeper down a repository's own file may bear such a name."""

_TEMPORARY_SUFFIXES = (".incomplete", ".tmp", ".parallel_tmp")

_SHARED_LINK = re.compile(r"\..*\.shared")
"""huggingface_hub's temporary links of shared blobs (utils/_shared_blobs.py)."""

_SUSPECT = re.compile(
    r"(?:\A|/)(?:\.|(?:token|stored_tokens|xet|credentials)(?:/|\Z))"
    r"|\.(?:incomplete|tmp|parallel_tmp|lock|soft|refs)(?:/|\Z)"
)
"""What every private path holds somewhere; of 100,000 paths of a cache hardly one does, and only these are taken
apart."""

_DIRECTORIES = 64
"""That are remembered: paths come in order."""

_REPOSITORY = re.compile(r"(?:models|datasets|spaces)--.+")


def private_part(path: str) -> str | None:
    """The first part of `path` that no snapshot may contain, or None.

    A Hugging Face snapshot's own names (below `snapshots/<commit>/`) are the publisher's: a `poetry.lock` or a
    `notes.tmp` there is payload, since the library's temporary files lie in `blobs/`.
    """
    directory, slash, name = path.rpartition("/")
    plain = "." not in name and name not in _AT_THE_TOP
    if (plain or _SUSPECT.search(slash + name) is None) and not _is_suspect(directory):
        return None
    parts = path.split("/")
    published = _published_from(parts)
    for depth, part in enumerate(parts):
        if part in _AT_THE_TOP and (depth == 0 or (depth == 1 and parts[0] == "hub")):
            return part
        if part in _NAMES or part.startswith(PARTIAL_PREFIX):
            return part
        if depth < published and _is_temporary(part, in_blobs="blobs" in parts[:depth]):
            return part
    return None


def is_left_over(path: str) -> bool:
    """Whether `path` is a lock or an unfinished download: of use only to whoever is at work on it.

    Narrower than what no snapshot may contain, since it is thrown away: a directory `loras.tmp` is somebody's, and so
    is a `notes.tmp` outside of a repository of Hugging Face's cache, the only place where its library makes such files.
    """
    part = private_part(path)
    if part is None or part in _AT_THE_TOP or part == STATE_DIRECTORY:
        return False
    if part in _NAMES or not part.endswith(_TEMPORARY_SUFFIXES):
        return True
    above, _, name = path.rpartition("/")
    return part == name and (not part.endswith(".tmp") or any(map(_REPOSITORY.fullmatch, above.split("/"))))


@functools.lru_cache(_DIRECTORIES)
def _is_suspect(directory: str) -> bool:
    return _SUSPECT.search(directory) is not None


def forget_directories() -> None:
    """Empties the cache of this module, for the reason that `path.forget_directories` has."""
    _is_suspect.cache_clear()


def _published_from(parts: list[str]) -> int:
    """Depth from which on the names are the publisher's, or past the end where none are."""
    for depth in range(min(2, len(parts) - 3)):
        if _REPOSITORY.fullmatch(parts[depth]) and parts[depth + 1] == "snapshots":
            return depth + 3
    return len(parts)


def _is_temporary(part: str, *, in_blobs: bool) -> bool:
    lock_or_books = in_blobs and part.endswith((".lock", ".lock.soft", ".refs"))
    return lock_or_books or part.endswith(_TEMPORARY_SUFFIXES) or _SHARED_LINK.fullmatch(part) is not None

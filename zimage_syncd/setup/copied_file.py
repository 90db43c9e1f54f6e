"""What a copy of the program consists of, as data, and the copy that this process runs from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import zimage_syncd

COMPLETE = "complete"
"""Made in a copy's directory when it was unpacked and seen to start (boot.sh)."""

_BYTECODE = ".pyc"
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class CopiedFile:
    """One file of a copy."""

    name: str
    """Where it lies in the copy, relative, with slashes."""
    source: str
    """The absolute path that it is read from."""
    executable: bool = False
    """Mode 0755 instead of 0644."""


def files_below(directory: str, name: str) -> Iterator[CopiedFile]:
    """Every regular file below a directory, in a fixed order; links to files are what they lead to.

    Args:
        directory: where they lie.
        name: where that directory lies in the copy; empty: it is the copy.
    """
    for place, below, names in os.walk(directory):
        below.sort()
        for each in sorted(names):
            source = os.path.join(place, each)
            if os.path.isfile(source):
                inside = os.path.normpath(os.path.join(name, os.path.relpath(source, directory)))
                yield CopiedFile(inside, source, os.access(source, os.X_OK))


def fingerprint(files: Iterable[CopiedFile]) -> str:
    """The SHA-256, in hex, of names, modes and bytes; not of bytecode, which Python writes as it likes.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda each: each.name):
        if not file.name.endswith(_BYTECODE):
            digest.update(f"{file.name}\0{file.executable:d}\0{_sha256(file.source)}\n".encode())
    return digest.hexdigest()


def running_copy() -> str | None:
    """The directory of the copy that this process runs from; None where it runs from an ordinary installation."""
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(zimage_syncd.__file__))))
    return home if os.path.isfile(os.path.join(home, COMPLETE)) else None


def copy_of(home: str) -> list[CopiedFile]:
    """The files of a copy that is in place."""
    return [file for file in files_below(home, "") if file.name != COMPLETE]


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()

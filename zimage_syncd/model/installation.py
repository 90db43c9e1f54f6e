"""What `install` and `uninstall` did, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Installed:
    """A copy that is in place."""

    directory: str
    """Of the version, on the disk that stays."""
    program: str
    """The copy's name: version, and beginning of its fingerprint."""
    is_new: bool
    """False where the same was there already; then the line is the same, too."""
    files: int
    """Of the copy."""
    size_bytes: int
    """Of all its files."""
    machine: str
    """As `uname -m` says it."""
    glibc: str
    """The oldest that will do."""
    kept: tuple[str, ...]
    """Files of the system that are put back after a reset where they are missing."""
    line: str
    """For the provider's start-up script or cloud-init's user data."""
    notes: tuple[str, ...] = ()
    """Sentences for people."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What is gone."""

    paths: tuple[str, ...]
    """Files and directories."""
    copies: tuple[str, ...] = ()
    """Unpacked copies that still have to go, as the last."""
    notes: tuple[str, ...] = ()
    """Sentences for people."""

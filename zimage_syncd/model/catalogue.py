"""What a problem is, and where all of them are entered."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Severity(enum.StrEnum):
    """How much a person has to care."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of thing that can be wrong."""

    code: str
    """Stable identifier, `ZS` and three digits."""
    title: str
    """What happened, in a few words, without the object."""
    severity: Severity
    """How much a person has to care."""
    remedy: str
    """What to do about it."""
    exit_code: int = 1
    """The process's exit code where this stops a command (design: 1 failed, 3 usage, 75 try again)."""


CATALOGUE: dict[str, Problem] = {}
"""All problems by code; filled once, while problems.py is imported."""


def add(code: str, title: str, severity: Severity, remedy: str, exit_code: int = 1) -> Problem:
    """Enters a problem; the arguments are the fields of `Problem`."""
    problem = Problem(code, title, severity, remedy, exit_code)
    CATALOGUE[code] = problem
    return problem

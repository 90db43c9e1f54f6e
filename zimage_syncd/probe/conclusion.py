"""What a check has come to, so far and in the end."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthResult
from zimage_syncd.model.picture import Comparison, PictureFacts

MAX_LINE_CHARS = 500


class Concluded(Exception):
    """The check ends here.

    Attributes:
        outcome: the result.
        detail: why, for people.
    """

    def __init__(self, outcome: HealthOutcome, detail: str = "") -> None:
        super().__init__(outcome, detail)
        self.outcome = outcome
        self.detail = detail


@dataclass(slots=True)
class Progress:
    """What was done so far; becomes the result."""

    level: HealthLevel = HealthLevel.FILES
    """The highest level begun."""
    device: str = ""
    """As in `HealthResult`."""
    dtype: str = ""
    """As in `HealthResult`."""
    timings_s: list[tuple[str, float]] = field(default_factory=list)
    """Finished stages in order, in seconds."""
    checked_files: int = 0
    """As in `HealthResult`."""
    peak_memory_bytes: int = 0
    """As in `HealthResult`; 0 until there is a device."""
    picture: str = ""
    """Absolute path of the PNG; empty where there is none."""
    versions: dict[str, str] = field(default_factory=dict)
    """Libraries and their versions."""
    picture_facts: PictureFacts | None = None
    """As in `HealthResult`."""
    comparison: Comparison | None = None
    """As in `HealthResult`."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage, also one that fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_s.append((name, round(time.perf_counter() - start, 3)))

    def result(self, outcome: HealthOutcome, detail: str) -> HealthResult:
        """The document to answer with."""
        total_s = round(sum(seconds for _, seconds in self.timings_s), 3)
        return HealthResult(
            outcome=outcome,
            level=self.level,
            detail=detail,
            device=self.device,
            dtype=self.dtype,
            timings_s=(*self.timings_s, ("total", total_s)),
            peak_memory_bytes=self.peak_memory_bytes or resident_peak_bytes(),
            checked_files=self.checked_files,
            picture=self.picture,
            versions=tuple(sorted(self.versions.items())),
            picture_facts=self.picture_facts,
            comparison=self.comparison,
        )


def resident_peak_bytes() -> int:
    """The largest resident size that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first_line(error: BaseException) -> str:
    """An exception as one line: its type and the beginning of its message."""
    message = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {message}"[:MAX_LINE_CHARS]

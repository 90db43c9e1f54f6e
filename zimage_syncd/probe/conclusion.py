"""What a check has come to, so far and in the end."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthResult, Placement
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


class Again(Exception):
    """The quick way of loading came to nothing that could be believed; the libraries' own way is to be gone.

    Attributes:
        reason: what came out, for people; empty: nothing was tried, since what was imported ahead does not fit.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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
    direct: bool = False
    """Whether the weights went straight to the device, past the libraries' own loaders."""
    checked_tensors: int = 0
    """As in `HealthResult`."""
    placement: Placement = Placement.NOWHERE
    """As in `HealthResult`."""
    needed_memory_bytes: int = 0
    """As in `HealthResult`."""
    remarks: list[str] = field(default_factory=list)
    """What is to be said whatever comes out."""
    waited_s: float = 0.0
    """For a GPU that others used, so far, in seconds."""
    spared_bytes: int = 0
    """Of the GPU's free memory that are left to others whose work is under way."""
    drawn_px: int = 0
    """As in `HealthResult`."""
    drawn_steps: int = 0
    """As in `HealthResult`."""
    picture_facts: PictureFacts | None = None
    """As in `HealthResult`."""
    comparison: Comparison | None = None
    """As in `HealthResult`."""
    asked_s: float | None = None
    """When the request came (CLOCK_BOOTTIME, seconds); None: it was there when this process was started."""

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
        timings_s = [*([("wait", round(self.waited_s, 3))] if self.waited_s else []), *self.timings_s]
        return HealthResult(
            outcome=outcome,
            level=self.level,
            detail="; ".join(part for part in (*self.remarks, detail) if part),
            device=self.device,
            dtype=self.dtype,
            timings_s=(*timings_s, ("total", round(self._total_s(), 3))),
            peak_memory_bytes=self.peak_memory_bytes or resident_peak_bytes(),
            checked_files=self.checked_files,
            checked_tensors=self.checked_tensors,
            picture=self.picture,
            versions=tuple(sorted(self.versions.items())),
            placement=self.placement,
            needed_memory_bytes=self.needed_memory_bytes,
            drawn_px=self.drawn_px,
            drawn_steps=self.drawn_steps,
            picture_facts=self.picture_facts,
            comparison=self.comparison,
        )

    def _total_s(self) -> float:
        """Since the request could be worked at, in seconds."""
        return age_s() if self.asked_s is None else time.clock_gettime(time.CLOCK_BOOTTIME) - self.asked_s


def age_s() -> float:
    """Seconds since this process was started, by the kernel's clock ticks (proc_pid_stat(5), starttime)."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as stream:
        after_name = stream.read().rpartition(")")[2].split()
    started_s = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started_s, 0.0)


def resident_peak_bytes() -> int:
    """The largest resident size that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first_line(error: BaseException) -> str:
    """An exception as one line: its type and the beginning of its message."""
    message = str(error).strip().split("\n", 1)[0]
    return f"{type(error).__name__}: {message}"[:MAX_LINE_CHARS]

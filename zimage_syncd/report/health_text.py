"""The health checks of a snapshot, in a few lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from zimage_syncd.model.status import HealthRow, Trend
from zimage_syncd.report.words import count, duration, size

_LIKENESS = {
    "same": ", the same as its reference",
    "similar": ", similar to its reference",
    "different": ", different from its reference",
}


def health_lines(row: HealthRow) -> Iterator[str]:
    """The last check, the last picture, its times, and what became of these."""
    yield f"health  {row.at:%Y-%m-%d %H:%M} UTC {row.snapshot}: {row.outcome} ({row.level})"
    if row.picture and row.picture_at is not None:
        against = _LIKENESS.get(row.likeness, "")
        yield f"  picture of {row.picture_at:%Y-%m-%d %H:%M} UTC: {row.picture_outcome}{against}  {row.picture}"
        if row.side_by_side:
            yield f"  side by side: {row.side_by_side}"
        yield f"  {'; '.join(_times(row))}"
    yield from (f"  {_trend(trend)}" for trend in row.trends)
    if row.dated_ahead:
        dated = "is dated later than now and counts" if row.dated_ahead == 1 else "are dated later than now and count"
        yield f"  {count(row.dated_ahead, 'check')} {dated} as the oldest: the clock was wrong then, or is now"


def _times(row: HealthRow) -> Iterator[str]:
    if row.first_image_s is not None:
        yield f"first image after {duration(row.first_image_s)}"
    if row.step_s is not None:
        yield f"{row.step_s:.3f} s a step"
    if row.peak_memory_bytes:
        yield f"at most {size(row.peak_memory_bytes)} of memory"
    yield row.device


def _trend(trend: Trend) -> str:
    usual = f"the median of {trend.checks} checks before is {trend.median_s:.3f} s"
    words = f"{trend.word}: {trend.ratio:.2f} times" if trend.word != "as usual" else trend.word
    return f"{trend.name} {words} ({trend.last_s:.3f} s; {usual})"

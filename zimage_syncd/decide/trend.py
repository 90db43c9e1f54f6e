"""Whether a health check became slower or faster: the last one against the median of those before it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from zimage_syncd.decide.due import CLOCK_STEP_S
from zimage_syncd.model.health_record import HealthRecord
from zimage_syncd.model.picture import device_model
from zimage_syncd.model.status import HealthRow, Trend

LEAST_EARLIER = 3
"""With fewer good checks before it nobody knows what is usual."""

MOST_EARLIER = 10
"""Older ones say what was usual once."""

NOTICEABLE = 1.25
"""Times of one machine differ by a fifth from run to run (docs/performance.md)."""

_TIMES: tuple[tuple[str, Callable[[HealthRecord], float | None]], ...] = (
    ("first image", lambda record: record.total_s),
    ("step", lambda record: record.step_s),
)


def rows_of(records: Sequence[HealthRecord], now: datetime) -> tuple[HealthRow, ...]:
    """What `status` shows of each snapshot's checks, sorted by snapshot.

    Args:
        records: the newest first; those that are dated later than now come after all others.
        now: UTC.
    """
    return tuple(
        _row([record for record in records if record.snapshot == name], now)
        for name in sorted({record.snapshot for record in records})
    )


def _row(records: Sequence[HealthRecord], now: datetime) -> HealthRow:
    """Of one snapshot, of which there is at least one record."""
    last = records[0]
    number = next((number for number, record in enumerate(records) if record.result.picture), None)
    drawn = None if number is None else records[number]
    comparison = None if drawn is None else drawn.result.comparison
    return HealthRow(
        snapshot=last.snapshot,
        at=last.at,
        outcome=str(last.result.outcome),
        level=str(last.result.level),
        detail=last.result.detail,
        device="" if drawn is None else drawn.result.device,
        picture="" if drawn is None else drawn.result.picture,
        picture_at=None if drawn is None else drawn.at,
        picture_outcome="" if drawn is None else str(drawn.result.outcome),
        likeness="" if comparison is None else str(comparison.likeness),
        side_by_side="" if comparison is None else comparison.side_by_side,
        first_image_s=None if drawn is None else drawn.total_s,
        step_s=None if drawn is None else drawn.step_s,
        peak_memory_bytes=0 if drawn is None else drawn.result.peak_memory_bytes,
        trends=() if number is None else trends_of(records[number:]),
        dated_ahead=sum(record.at > now + timedelta(seconds=CLOCK_STEP_S) for record in records),
    )


def trends_of(records: Sequence[HealthRecord]) -> tuple[Trend, ...]:
    """How the newest check's times compare with those of good ones before it that did the same in the same place.

    Args:
        records: of one snapshot, the newest first.

    Returns:
        Nothing where the newest drew no good picture, or there are too few to compare with.
    """
    if not records or not records[0].is_drawn:
        return ()
    last = records[0]
    alike = [record for record in records[1:] if record.is_drawn and _work(record) == _work(last)][:MOST_EARLIER]
    found = []
    for name, time_of in _TIMES:
        last_s = time_of(last)
        earlier = [seconds for record in alike if (seconds := time_of(record)) is not None]
        if last_s is None or len(earlier) < LEAST_EARLIER or not (median_s := statistics.median(earlier)):
            continue
        ratio = round(last_s / median_s, 2)
        word = "slower" if ratio >= NOTICEABLE else "faster" if ratio <= 1 / NOTICEABLE else "as usual"
        found.append(Trend(name, last_s, round(median_s, 4), len(earlier), ratio, word))
    return tuple(found)


def _work(record: HealthRecord) -> tuple[object, ...]:
    """What has to be equal for two times to be comparable."""
    return device_model(record.result.device), record.result.dtype, record.size_px, record.steps

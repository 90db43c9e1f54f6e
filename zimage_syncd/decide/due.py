"""What is due: cron expression, last run and clock in, the moment of the next run out.

Nothing is remembered here: runs that were missed while the machine was off are one run, due at once. Slots are times on
the wall clock of a zone; over a change of the clocks every slot has exactly one run:

- a slot in the hour that is left out runs when the clock has jumped (02:30 at 03:30);
- a slot in the hour that comes twice runs the first time, unless the hours are `*` or `*/n`: then both times.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from zimage_syncd.model.failures import ConfigInvalid

CLOCK_STEP_S = 300.0
"""How far ahead of the clock a last run may lie and still count. A time server moves a clock by seconds; a run further
ahead was recorded by a clock that was wrong, and is treated as if it had never been."""

_NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat"
_ITEM = rf"(?:\*|(?:\d{{1,2}}|{_NAMES})(?:-(?:\d{{1,2}}|{_NAMES}))?)(?:/\d{{1,2}})?"
_FIELD = re.compile(rf"{_ITEM}(?:,{_ITEM})*", re.ASCII | re.IGNORECASE)
"""A field of crontab(5). What croniter adds (`R`, `H`, `L`, `#`, seconds, years) is refused: some of it is random."""

_SOME_DAY = datetime(2024, 1, 1)
"""A reading of a wall clock, in a leap year: 29 February is found soon."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job shall run.

    Raises:
        ConfigInvalid: the expression is not one of crontab(5), no day matches it, or the jitter is negative.
    """

    expression: str
    """Minute, hour, day of month, month, day of week (0 and 7 are Sunday), as in crontab(5); empty: never."""
    jitter_s: float = 0.0
    """Up to so much later than its slot, at most half the way to the next one; from 0."""

    def __post_init__(self) -> None:
        """Refuses what could not be followed."""
        if not self.jitter_s >= 0:
            raise ConfigInvalid("jitter_s", f"expected 0 or more seconds, found {self.jitter_s}")
        if not self.is_never:
            _check(self.expression)

    @property
    def is_never(self) -> bool:
        """Whether it has no runs at all."""
        return not self.expression.strip()


def spread_of(identity: str, name: str) -> float:
    """Which part of the jitter a cache takes for a schedule: the same at every call, different for every cache.

    Args:
        identity: the cache's id.
        name: the schedule's.

    Returns:
        From 0 up to, not including, 1.
    """
    return zlib.crc32(f"{identity}/{name}".encode()) / 2**32


def next_due(
    schedule: Schedule, *, last_run: datetime | None, since: datetime, now: datetime, zone: tzinfo, spread: float = 0.0
) -> datetime | None:
    """The moment of the next run; in the past where one was missed.

    Args:
        schedule: when.
        last_run: when the job last ran, with a zone; None where it never did.
        since: from when on slots count for a job that never ran, such as the time at which the cache was set up.
        now: the clock.
        zone: whose wall clock the expression means.
        spread: of `spread_of`, from 0 to below 1.

    Returns:
        UTC; None for a schedule without runs.
    """
    if schedule.is_never:
        return None
    anchor = last_run if last_run is not None and not _is_wrong(last_run, now) else since
    if _is_wrong(anchor, now):
        # Slots counted from a time that has not come yet, or from the moving `now`, would never be due.
        return now.astimezone(UTC)
    slot = _slot_after(schedule.expression, anchor, zone)
    limit_s = min(schedule.jitter_s, (_slot_after(schedule.expression, slot, zone) - slot).total_seconds() / 2)
    return slot + timedelta(seconds=int(spread * limit_s))


def is_due(
    schedule: Schedule, *, last_run: datetime | None, since: datetime, now: datetime, zone: tzinfo, spread: float = 0.0
) -> bool:
    """Whether the job shall run now; arguments as those of `next_due`."""
    moment = next_due(schedule, last_run=last_run, since=since, now=now, zone=zone, spread=spread)
    return moment is not None and moment <= now


def _is_wrong(moment: datetime, now: datetime) -> bool:
    return moment - now > timedelta(seconds=CLOCK_STEP_S)


def _check(expression: str) -> None:
    fields = expression.split()
    if len(fields) != 5 or not all(_FIELD.fullmatch(field) for field in fields):
        raise ConfigInvalid(expression, "expected the five fields of crontab(5), such as '0 4 * * *', or nothing")
    next(_readings(expression, _SOME_DAY))


def _readings(expression: str, after: datetime) -> Iterator[datetime]:
    """What a wall clock shows at all slots after some reading, in order.

    Raises:
        ConfigInvalid: there are none.
    """
    # Here, so that commands under a configuration with the usual schedules do not wait for it.
    from croniter import CroniterError, croniter  # noqa: PLC0415

    try:
        slots = croniter(expression, after)
        while True:
            yield slots.get_next(datetime)
    except CroniterError as error:
        raise ConfigInvalid(expression, f"expected times that exist, found none: {error}") from error


def _slot_after(expression: str, instant: datetime, zone: tzinfo) -> datetime:
    """The first slot after an instant, UTC.

    croniter sees the bare wall clock only. Near a change of the clocks the order on the wall is not the order in time,
    so all slots are looked at whose reading is within the change, and the earliest one in time is taken.
    """
    wall = instant.astimezone(zone).replace(tzinfo=None)
    change = abs(_offset(instant + _DAY, zone) - _offset(instant - _DAY, zone))
    readings = _readings(expression, wall - change)
    found: datetime | None = None
    while True:
        reading = next(readings)
        later = [moment for moment in _moments(reading, expression, zone) if moment > instant]
        found = min([*later, *([found] if found else [])], default=None)
        if found is not None and reading - wall >= change:
            return found


def _moments(reading: datetime, expression: str, zone: tzinfo) -> list[datetime]:
    """When a wall clock shows a reading at which a slot is."""
    first = reading.replace(tzinfo=zone, fold=0).astimezone(UTC)  # one that is left out: as far after the jump
    second = reading.replace(tzinfo=zone, fold=1).astimezone(UTC)
    every_hour = expression.split()[1].startswith("*")
    return [first, second] if every_hour and second > first else [first]


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)

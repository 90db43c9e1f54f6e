"""When a job is due: cron expressions, missed runs, clocks that jump, and the change of the clocks."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zimage_syncd.decide.due import CLOCK_STEP_S, Schedule, is_due, next_due, spread_of
from zimage_syncd.model.failures import ConfigInvalid

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: 29 March 02:00 -> 03:00, 25 October 03:00 -> 02:00
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # changes its clocks by half an hour
SHANGHAI = ZoneInfo("Asia/Shanghai")
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def next_of(
    expression: str,
    last_run: datetime | None,
    *,
    now: datetime | None = None,
    zone: tzinfo = UTC,
    jitter_s: float = 0.0,
    spread: float = 0.0,
) -> datetime | None:
    now = now or last_run or CREATED
    schedule = Schedule(expression, jitter_s)
    return next_due(schedule, last_run=last_run, since=CREATED, now=now, zone=zone, spread=spread)


def runs(expression: str, zone: tzinfo, start: datetime, count: int, jitter_s: float = 0.0) -> list[datetime]:
    """The first runs of a machine that is always on, whose jobs start at the very moment at which they are due."""
    found = [start]
    for _ in range(count):
        moment = next_of(expression, found[-1], zone=zone, jitter_s=jitter_s, spread=0.5)
        assert moment is not None
        found.append(moment)
    return found[1:]


def walls(moments: list[datetime], zone: tzinfo) -> list[str]:
    return [moment.astimezone(zone).strftime("%d %H:%M") for moment in moments]


# Cron expressions


@pytest.mark.parametrize("sunday", ["0", "7", "sun", "SUN"])
def test_zero_and_seven_are_sunday(sunday: str) -> None:
    moment = next_of(f"0 5 * * {sunday}", utc("2026-11-24T00:00"))
    assert moment == utc("2026-11-29T05:00")
    assert moment.strftime("%A") == "Sunday"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/15 * * * *", "2026-11-24T03:15"),
        ("0 4 * * *", "2026-11-24T04:00"),
        ("0 3 * * *", "2026-11-25T03:00"),  # strictly after a run at 03:07
        ("0 5 * * 5-7", "2026-11-27T05:00"),
        ("0 5 * * mon,wed", "2026-11-25T05:00"),
        ("30 2 1 jan *", "2027-01-01T02:30"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 13 * 5", "2026-11-27T00:00"),  # crontab(5): either of the two days, where both are given
    ],
)
def test_the_next_slot_is_the_one_that_crontab_means(expression: str, expected: str) -> None:
    assert next_of(expression, utc("2026-11-24T03:07")) == utc(expected)


@pytest.mark.parametrize("expression", ["", "  "])
def test_an_empty_expression_is_never_due(expression: str) -> None:
    schedule = Schedule(expression)
    assert next_due(schedule, last_run=None, since=CREATED, now=utc("2030-01-01T00:00"), zone=UTC) is None
    assert not is_due(schedule, last_run=None, since=CREATED, now=utc("2030-01-01T00:00"), zone=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        "* * * *",
        "* * * * * *",
        "@daily",
        "61 * * * *",
        "0 24 * * *",
        "*/0 * * * *",
        "0 0 30 2 *",
        "0 0 * * 8",
        "R * * * *",
        "H * * * *",
        "0 0 L * *",
        "0 0 * * 5#2",
        "0 0 15W * *",
        "0 0 * * someday",
        "٣ * * * *",
    ],
)
def test_an_expression_that_crontab_does_not_know_is_refused_by_name(expression: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Schedule(expression)
    assert expression in str(caught.value)


@pytest.mark.parametrize("jitter_s", [-1.0, float("nan")])
def test_a_jitter_that_is_no_length_of_time_is_refused(jitter_s: float) -> None:
    with pytest.raises(ConfigInvalid):
        Schedule("* * * * *", jitter_s)


minutes_of_hour = st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True)
hours_of_day = st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True)
weekdays = st.lists(st.integers(0, 6), min_size=1, max_size=3, unique=True)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
some = settings(max_examples=60, deadline=None)  # the machine may be busy; no second is asserted here
zones = st.sampled_from([UTC, SHANGHAI, BERLIN, NEW_YORK, LORD_HOWE, timezone(timedelta(hours=-3, minutes=-30))])


@st.composite
def expressions(draw: st.DrawFn) -> str:
    minute = draw(st.one_of(st.sampled_from(["*", "*/15", "7"]), minutes_of_hour.map(lambda m: ",".join(map(str, m)))))
    hour = draw(st.one_of(st.sampled_from(["*", "*/6", "2-3"]), hours_of_day.map(lambda h: ",".join(map(str, h)))))
    day = draw(st.sampled_from(["*", "1", "15,31"]))
    weekday = draw(st.sampled_from(["*", "0", "7", "1-5"]))
    return f"{minute} {hour} {day} * {weekday}"


@some
@given(minutes_of_hour, hours_of_day, weekdays, moments)
def test_the_next_slot_agrees_with_looking_at_every_minute(
    minutes: list[int], hours: list[int], days: list[int], last: datetime
) -> None:
    def text(numbers: list[int]) -> str:
        return ",".join(map(str, numbers))

    day = last.replace(hour=0, minute=0, second=0, microsecond=0)
    candidates = [day + timedelta(days=d, hours=h, minutes=m) for d in range(9) for h in hours for m in minutes]
    matching = [moment for moment in candidates if moment > last and (moment.weekday() + 1) % 7 in days]
    assert next_of(f"{text(minutes)} {text(hours)} * * {text(days)}", last) == min(matching)


# Runs that were missed, and runs that were not


def test_a_run_is_due_at_its_slot_and_not_before() -> None:
    schedule = Schedule("0 4 * * *")
    last = utc("2026-11-23T04:00")
    before, at = utc("2026-11-24T03:59:59"), utc("2026-11-24T04:00")
    assert not is_due(schedule, last_run=last, since=CREATED, now=before, zone=UTC)
    assert is_due(schedule, last_run=last, since=CREATED, now=at, zone=UTC)


def test_a_week_of_missed_runs_is_one_run_at_once() -> None:
    schedule = Schedule("0 4 * * *")
    now = utc("2026-11-24T12:34")
    assert is_due(schedule, last_run=utc("2026-11-17T04:00"), since=CREATED, now=now, zone=UTC)
    assert not is_due(schedule, last_run=now, since=CREATED, now=now, zone=UTC)
    assert next_of("0 4 * * *", now) == utc("2026-11-25T04:00")


def test_a_job_that_never_ran_waits_for_the_first_slot_after_its_beginning() -> None:
    schedule = Schedule("0 4 * * *")
    since = utc("2026-11-24T05:00")
    assert not is_due(schedule, last_run=None, since=since, now=utc("2026-11-25T03:59"), zone=UTC)
    assert is_due(schedule, last_run=None, since=since, now=utc("2026-11-25T09:00"), zone=UTC)


@some
@given(expressions(), moments, zones, st.floats(0, 7200), st.floats(0, 1, exclude_max=True))
def test_the_next_run_is_always_after_the_last_one(
    expression: str, last: datetime, zone: tzinfo, jitter_s: float, spread: float
) -> None:
    moment = next_of(expression, last, zone=zone, jitter_s=jitter_s, spread=spread)
    assert moment is not None
    assert moment > last


@some
@given(expressions(), moments, zones, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_a_run_at_any_time_covers_all_slots_before_it(
    expression: str, last: datetime, zone: tzinfo, off: timedelta
) -> None:
    now = last + off
    schedule = Schedule(expression, jitter_s=300)
    assert not is_due(schedule, last_run=now, since=CREATED, now=now, zone=zone, spread=0.9)


@some
@given(expressions(), moments, zones)
def test_a_machine_that_is_always_on_runs_every_slot_once_with_jitter_as_without(
    expression: str, start: datetime, zone: tzinfo
) -> None:
    slots = runs(expression, zone, start, 7)
    jittered = runs(expression, zone, start, 6, jitter_s=7200)
    assert all(slot <= run < following for slot, run, following in zip(slots, jittered, slots[1:], strict=False))


# A clock that was wrong


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), timedelta(hours=1), timedelta(days=900)])
def test_a_last_run_in_the_future_counts_as_never(ahead: timedelta) -> None:
    now = utc("2026-11-24T12:00")
    assert is_due(Schedule("0 4 * * *"), last_run=now + ahead, since=CREATED, now=now, zone=UTC)


def test_a_last_run_in_the_future_brings_no_run_before_the_first_slot_of_a_job_that_never_ran() -> None:
    now = utc("2026-11-24T12:00")
    since = utc("2026-11-24T11:00")
    moment = next_due(Schedule("0 4 * * *"), last_run=now + timedelta(days=9), since=since, now=now, zone=UTC)
    assert moment == utc("2026-11-25T04:00")


def test_a_clock_that_a_time_server_moved_back_by_seconds_repeats_nothing() -> None:
    ran = utc("2026-11-24T04:00:01")
    now = utc("2026-11-24T03:59:58")
    moment = next_of("0 4 * * *", ran, now=now)
    assert moment == utc("2026-11-25T04:00")


def test_a_clock_that_was_set_back_behind_the_cache_s_beginning_does_not_put_the_run_off_forever() -> None:
    now = CREATED - timedelta(days=3)
    schedule = Schedule("0 4 * * *")
    assert is_due(schedule, last_run=None, since=CREATED, now=now, zone=UTC)
    assert is_due(schedule, last_run=CREATED, since=CREATED, now=now, zone=UTC)
    assert not is_due(schedule, last_run=now, since=CREATED, now=now, zone=UTC)


@some
@given(moments, st.timedeltas(timedelta(seconds=CLOCK_STEP_S + 1), timedelta(days=400)), zones)
def test_no_wrong_clock_delays_a_run_beyond_one_period(now: datetime, ahead: timedelta, zone: tzinfo) -> None:
    moment = next_of("*/15 * * * *", now + ahead, now=now, zone=zone)
    assert moment is not None
    assert moment <= now + timedelta(minutes=15)


# Jitter


def test_jitter_is_the_same_at_every_call_and_differs_between_caches_and_jobs() -> None:
    assert spread_of("cache-a", "deep") == spread_of("cache-a", "deep")
    spreads = {spread_of(cache, job) for cache in ("cache-a", "cache-b", "cache-c") for job in ("quick", "deep")}
    assert len(spreads) == 6
    assert all(0 <= spread < 1 for spread in spreads)


def test_jitter_of_many_caches_spreads_over_its_whole_length() -> None:
    spreads = [spread_of(f"cache-{number}", "deep") for number in range(400)]
    tenths = {int(spread * 10) for spread in spreads}
    assert tenths == set(range(10))


def test_jitter_delays_the_run_but_not_the_next_slot() -> None:
    assert next_of("0 4 * * *", utc("2026-11-24T03:00"), jitter_s=300, spread=0.5) == utc("2026-11-24T04:02:30")
    assert next_of("0 4 * * *", utc("2026-11-24T04:02:30"), jitter_s=300, spread=0.5) == utc("2026-11-25T04:02:30")


def test_jitter_never_reaches_the_next_slot() -> None:
    moment = next_of("* * * * *", utc("2026-11-24T03:00"), jitter_s=3600, spread=0.99)
    assert moment is not None
    assert moment < utc("2026-11-24T03:01:30")


# The change of the clocks


def test_the_expression_means_the_wall_clock_of_the_zone() -> None:
    assert next_of("0 4 * * *", utc("2026-11-24T00:00"), zone=SHANGHAI) == utc("2026-11-24T20:00")


def test_a_time_that_the_clocks_leave_out_runs_once_that_day() -> None:
    found = runs("30 2 * * *", BERLIN, utc("2026-03-28T12:00"), 3)
    assert walls(found, BERLIN) == ["29 03:30", "30 02:30", "31 02:30"]


def test_a_job_of_every_second_hour_runs_once_for_the_hour_that_the_clocks_leave_out() -> None:
    found = runs("0 */2 * * *", BERLIN, utc("2026-03-28T22:00"), 3)
    assert walls(found, BERLIN) == ["29 00:00", "29 03:00", "29 04:00"]


def test_a_time_that_the_clocks_show_twice_runs_once_that_day() -> None:
    found = runs("30 2 * * *", BERLIN, utc("2026-10-24T12:00"), 3)
    assert walls(found, BERLIN) == ["25 02:30", "26 02:30", "27 02:30"]
    assert found[0] == utc("2026-10-25T00:30")


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_job_of_every_quarter_of_an_hour_keeps_its_pace_over_the_change(day: str) -> None:
    start = utc(f"{day}T00:00") - timedelta(hours=4)
    found = runs("*/15 * * * *", BERLIN, start, 40)
    steps = {later - earlier for earlier, later in itertools.pairwise(found)}
    assert steps == {timedelta(minutes=15)}


def test_a_change_by_half_an_hour_keeps_the_pace_too() -> None:
    start = utc("2026-04-04T10:00")  # back by half an hour at 15:00 UTC
    found = runs("*/15 * * * *", LORD_HOWE, start, 40)
    steps = {later - earlier for earlier, later in itertools.pairwise(found)}
    assert steps == {timedelta(minutes=15)}


def test_two_slots_that_fall_together_when_the_clocks_jump_are_one_run() -> None:
    found = runs("30 2,3 * * *", BERLIN, utc("2026-03-28T12:00"), 3)
    assert walls(found, BERLIN) == ["29 03:30", "30 02:30", "30 03:30"]

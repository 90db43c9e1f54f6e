"""Slower, faster, as usual; and nothing where there is too little to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.pictures import AT, record
from zimage_syncd.decide.trend import LEAST_EARLIER, MOST_EARLIER, rows_of, trends_of
from zimage_syncd.model.health import HealthLevel, HealthOutcome
from zimage_syncd.model.picture import Comparison, Likeness

NOW = AT + timedelta(days=1)


def history(last_s: float, *earlier: float, **changes: object) -> list:
    """Records, the newest first; `changes` are of the last check's result."""
    last = record(len(earlier), last_s, **changes)
    return [last, *(record(number, seconds) for number, seconds in reversed(list(enumerate(earlier))))]


@pytest.mark.parametrize(
    ("last_s", "word", "ratio"),
    [
        (10.0, "as usual", 1.0),
        (12.4, "as usual", 1.24),
        (12.5, "slower", 1.25),
        (30.0, "slower", 3.0),
        (8.1, "as usual", 0.81),
        (7.9, "faster", 0.79),
    ],
)
def test_the_last_check_is_compared_with_the_median_of_those_before(last_s: float, word: str, ratio: float) -> None:
    image, step = trends_of(history(last_s, 9.0, 10.0, 50.0))
    assert (image.name, image.word, image.ratio, image.median_s, image.checks) == (
        "first image",
        word,
        ratio,
        10.0,
        LEAST_EARLIER,
    )
    assert (step.name, step.word, step.last_s, step.median_s) == ("step", word, last_s / 5 / 4, 0.5)


def test_two_checks_before_are_too_few() -> None:
    assert trends_of(history(10.0, 10.0, 10.0)) == ()
    assert trends_of([]) == ()


def test_only_the_latest_ones_say_what_is_usual() -> None:
    (image, _) = trends_of(history(10.0, *[99.0] * 20, *[10.0] * MOST_EARLIER))
    assert (image.checks, image.median_s) == (MOST_EARLIER, 10.0)


UNLIKE = {
    "another card": {"device": "cuda:0 NVIDIA L4"},
    "another dtype": {"dtype": "float16"},
    "no picture": {"level": HealthLevel.LOAD},
    "not good": {"outcome": HealthOutcome.DIFFERENT_PICTURE},
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_checks_that_did_something_else_are_not_compared(kind: str) -> None:
    assert trends_of(history(10.0, 10.0, 10.0, 10.0, **UNLIKE[kind])) == ()
    records = history(10.0, 10.0, 10.0, 10.0)
    records[2] = replace(records[2], result=replace(records[2].result, **UNLIKE[kind]))
    assert trends_of(records) == ()


@pytest.mark.parametrize("change", [{"size_px": 1024}, {"steps": 9}])
def test_neither_are_those_of_another_size_or_number_of_steps(change: dict[str, int]) -> None:
    records = history(10.0, 10.0, 10.0, 10.0)
    assert trends_of([replace(records[0], **change), *records[1:]]) == ()


def test_without_a_stage_of_denoising_only_the_whole_is_told() -> None:
    records = [
        replace(item, result=replace(item.result, timings_s=(("total", 10.0),)))
        for item in history(10.0, 10.0, 10.0, 10.0)
    ]
    assert [trend.name for trend in trends_of(records)] == ["first image"]


def test_a_row_tells_the_last_check_and_the_last_picture() -> None:
    drawn = history(20.0, 10.0, 10.0, 10.0)
    failed = record(9, 1.0, outcome=HealthOutcome.NO_GPU, level=HealthLevel.FILES, picture="", detail="no CUDA device")
    (row,) = rows_of([failed, *drawn], NOW)
    assert (row.at, row.outcome, row.level, row.detail) == (failed.at, "no_gpu", "files", "no CUDA device")
    assert (row.picture, row.picture_at, row.picture_outcome) == ("/pictures/3.png", drawn[0].at, "ok")
    assert (row.first_image_s, row.step_s, row.peak_memory_bytes) == (20.0, 1.0, 23_300_000_000)
    assert [trend.word for trend in row.trends] == ["slower", "slower"]


def test_a_snapshot_that_never_drew_has_no_picture() -> None:
    (row,) = rows_of([record(picture="", level=HealthLevel.FILES)], NOW)
    assert (row.picture, row.picture_at, row.first_image_s, row.trends) == ("", None, None, ())


def test_a_different_picture_names_the_one_of_both() -> None:
    both = Comparison(Likeness.DIFFERENT, 0.7, AT, "/pictures/both.png")
    (row,) = rows_of([record(outcome=HealthOutcome.DIFFERENT_PICTURE, comparison=both)], NOW)
    assert (row.likeness, row.side_by_side, row.picture_outcome) == (
        "different",
        "/pictures/both.png",
        "different_picture",
    )


def test_every_snapshot_has_a_row_of_its_own() -> None:
    rows = rows_of([record(2, snapshot="b"), record(1, snapshot="a"), record(0, snapshot="b")], NOW)
    assert [(row.snapshot, row.at) for row in rows] == [("a", record(1).at), ("b", record(2).at)]

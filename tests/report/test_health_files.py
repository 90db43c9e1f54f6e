"""Records of health checks are kept one a file, and so are only so many pictures."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.pictures import AT, record
from zimage_syncd.decide.trend import rows_of
from zimage_syncd.model.failures import PathUnwritable
from zimage_syncd.report import health_files
from zimage_syncd.report.health_files import MAX_PICTURES, HealthFiles
from zimage_syncd.report.health_text import health_lines

NOW = AT + timedelta(days=1)


@pytest.fixture
def files(tmp_path: Path) -> HealthFiles:
    return HealthFiles(str(tmp_path / "health"), str(tmp_path / "pictures"))


def test_records_come_back_the_newest_first(files: HealthFiles) -> None:
    kept = [record(number) for number in range(3)]
    for item in kept:
        files.save(item, NOW)
    assert files.recent(9, NOW) == kept[::-1]
    assert files.recent(1, NOW) == kept[2:]


def test_two_of_one_moment_are_both_kept(files: HealthFiles) -> None:
    assert files.save(record(0, snapshot="a"), NOW) != files.save(record(0, snapshot="b"), NOW)
    assert [item.snapshot for item in files.recent(9, NOW)] == ["b", "a"]


def test_nothing_is_there_before_the_first(files: HealthFiles) -> None:
    assert files.recent(9, NOW) == []


def test_what_cannot_be_understood_is_passed_over_and_stays(files: HealthFiles, tmp_path: Path) -> None:
    damaged = Path(files.save(record(1), NOW))
    damaged.write_text("{")
    (tmp_path / "health" / "notes.json").write_text("{}")
    os.mkfifo(tmp_path / "health" / "20991124T030000-0000.json")
    files.save(record(0), NOW)
    assert files.recent(9, NOW) == [record(0)]
    assert damaged.exists()


def test_the_oldest_go_when_there_are_too_many(
    files: HealthFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_files, "MAX_RECORDS", 3)
    (tmp_path / "health").mkdir()
    (tmp_path / "health" / "somebody's.txt").touch()
    for number in range(5):
        files.save(record(number), NOW)
    assert files.recent(9, NOW) == [record(4), record(3), record(2)]
    assert len(os.listdir(tmp_path / "health")) == 4


def test_the_oldest_pictures_go_too_and_nothing_else(files: HealthFiles, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(MAX_PICTURES + 2):
        part = "" if number < 9 else f"-{number:03d}-0123abcd"  # until then names told no more than the second
        (pictures / f"20261124T0300{number:02d}Z{part}-org--name-huggingface.png").touch()
    (pictures / "0-holiday.png").touch()
    files.save(record(), NOW)
    left = sorted(os.listdir(pictures))
    assert len(left) == MAX_PICTURES + 1
    assert left[:2] == ["0-holiday.png", "20261124T030002Z-org--name-huggingface.png"]


def test_a_directory_that_cannot_be_written_is_a_failure(files: HealthFiles, tmp_path: Path) -> None:
    (tmp_path / "health").write_text("in the way")
    with pytest.raises(PathUnwritable):
        files.save(record(), NOW)


def test_the_lines_tell_picture_times_and_trend() -> None:
    records = [record(4, 20.0), *(record(number) for number in (3, 2, 1))]
    (row,) = rows_of(records, NOW)
    assert list(health_lines(row)) == [
        "health  2026-11-24 07:00 UTC org/name@main (huggingface): ok (generate)",
        "  picture of 2026-11-24 07:00 UTC: ok  /pictures/4.png",
        "  first image after 20.0 s; 1.000 s a step; at most 23.30 GB of memory; cuda:0 NVIDIA H200",
        "  first image slower: 2.00 times (20.000 s; the median of 3 checks before is 10.000 s)",
        "  step slower: 2.00 times (1.000 s; the median of 3 checks before is 0.500 s)",
    ]


def test_a_record_from_the_future_hides_no_later_check_also_when_its_time_has_come(files: HealthFiles) -> None:
    """A clock that was a day ahead: such a record was the last check for as long as nothing younger came."""
    wrong, right = record(50), record(1)
    files.save(wrong, wrong.at)
    assert files.recent(9, AT) == [wrong], "better than none"
    files.save(right, right.at)
    assert files.recent(9, right.at) == files.recent(9, wrong.at + timedelta(hours=1)) == [right, wrong]


def test_records_from_the_future_that_are_there_already_count_as_the_oldest(files: HealthFiles) -> None:
    """Written by a version that did not look at its clock."""
    wrong = [record(number) for number in (50, 60)]
    for item in [record(1), *wrong]:
        files.save(item, wrong[1].at)
    assert files.recent(9, record(2).at) == [record(1), *reversed(wrong)]
    files.save(record(3), record(3).at)
    assert files.recent(9, record(99).at) == [record(3), record(1), *reversed(wrong)]


def test_a_clock_that_is_behind_loses_no_record_and_no_order(files: HealthFiles) -> None:
    for number in (5, 6):
        files.save(record(number), record(number).at)
    behind = record(-9000)
    files.save(behind, behind.at)
    files.save(record(7), record(7).at)
    assert files.recent(9, NOW) == [record(7), behind, record(6), record(5)]


def test_a_check_during_which_the_clock_was_set_back_is_the_last_one(files: HealthFiles) -> None:
    files.save(record(1), record(1).at)
    files.save(record(90), record(2).at)
    assert files.recent(9, record(95).at) == [record(90), record(1)]


def test_pictures_from_the_future_go_first(files: HealthFiles, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(MAX_PICTURES):
        (pictures / f"20991124T0300{number:02d}Z-org--name-huggingface.png").touch()
    drawn = pictures / "20261124T030000Z-org--name-huggingface.png"
    drawn.touch()
    files.save(record(), AT)
    assert drawn.exists()
    assert len(os.listdir(pictures)) == MAX_PICTURES


@pytest.mark.parametrize(
    ("dated_ahead", "line"),
    [
        (1, "  1 check is dated later than now and counts as the oldest: the clock was wrong then, or is now"),
        (2, "  2 checks are dated later than now and count as the oldest: the clock was wrong then, or is now"),
    ],
)
def test_status_says_so(dated_ahead: int, line: str) -> None:
    records = [record(1), *(record(90 + number) for number in range(dated_ahead))]
    (row,) = rows_of(records, NOW)
    assert (row.at, row.dated_ahead) == (record(1).at, dated_ahead)
    assert list(health_lines(row))[-1] == line


def test_a_clock_that_a_time_server_moves_is_not_wrong(files: HealthFiles) -> None:
    last = record(1)
    now = last.at - timedelta(seconds=200)
    for item in (record(0), last):
        files.save(item, last.at)
    (row,) = rows_of(files.recent(9, now), now)
    assert (row.at, row.dated_ahead) == (last.at, 0)

"""Records of health checks are kept one a file, and so are only so many pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.pictures import record
from zimage_syncd.decide.trend import rows_of
from zimage_syncd.model.failures import PathUnwritable
from zimage_syncd.report import health_files
from zimage_syncd.report.health_files import MAX_PICTURES, HealthFiles
from zimage_syncd.report.health_text import health_lines


@pytest.fixture
def files(tmp_path: Path) -> HealthFiles:
    return HealthFiles(str(tmp_path / "health"), str(tmp_path / "pictures"))


def test_records_come_back_the_newest_first(files: HealthFiles) -> None:
    kept = [record(number) for number in range(3)]
    for item in kept:
        files.save(item)
    assert files.recent(9) == kept[::-1]
    assert files.recent(1) == kept[2:]


def test_two_of_one_moment_are_both_kept(files: HealthFiles) -> None:
    assert files.save(record(0, snapshot="a")) != files.save(record(0, snapshot="b"))
    assert [item.snapshot for item in files.recent(9)] == ["b", "a"]


def test_nothing_is_there_before_the_first(files: HealthFiles) -> None:
    assert files.recent(9) == []


def test_what_cannot_be_understood_is_passed_over_and_stays(files: HealthFiles, tmp_path: Path) -> None:
    damaged = Path(files.save(record(1)))
    damaged.write_text("{")
    (tmp_path / "health" / "notes.json").write_text("{}")
    os.mkfifo(tmp_path / "health" / "20991124T030000-0000.json")
    files.save(record(0))
    assert files.recent(9) == [record(0)]
    assert damaged.exists()


def test_the_oldest_go_when_there_are_too_many(
    files: HealthFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_files, "MAX_RECORDS", 3)
    (tmp_path / "health").mkdir()
    (tmp_path / "health" / "somebody's.txt").touch()
    for number in range(5):
        files.save(record(number))
    assert files.recent(9) == [record(4), record(3), record(2)]
    assert len(os.listdir(tmp_path / "health")) == 4


def test_the_oldest_pictures_go_too_and_nothing_else(files: HealthFiles, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(MAX_PICTURES + 2):
        (pictures / f"20261124T0300{number:02d}Z-org--name-huggingface.png").touch()
    (pictures / "0-holiday.png").touch()
    files.save(record())
    left = sorted(os.listdir(pictures))
    assert len(left) == MAX_PICTURES + 1
    assert left[:2] == ["0-holiday.png", "20261124T030002Z-org--name-huggingface.png"]


def test_a_directory_that_cannot_be_written_is_a_failure(files: HealthFiles, tmp_path: Path) -> None:
    (tmp_path / "health").write_text("in the way")
    with pytest.raises(PathUnwritable):
        files.save(record())


def test_the_lines_tell_picture_times_and_trend() -> None:
    records = [record(4, 20.0), *(record(number) for number in (3, 2, 1))]
    (row,) = rows_of(records)
    assert list(health_lines(row)) == [
        "health  2026-11-24 07:00 UTC org/name@main (huggingface): ok (generate)",
        "  picture of 2026-11-24 07:00 UTC: ok  /pictures/4.png",
        "  first image after 20.0 s; 1.000 s a step; at most 23.30 GB of memory; cuda:0 NVIDIA H200",
        "  first image slower: 2.00 times (20.000 s; the median of 3 checks before is 10.000 s)",
        "  step slower: 2.00 times (1.000 s; the median of 3 checks before is 0.500 s)",
    ]

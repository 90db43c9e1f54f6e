"""Reports are kept whole or not at all, and go when they are too old."""

from __future__ import annotations

import json
import os
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zimage_syncd.model import problems
from zimage_syncd.model.failures import PathUnwritable
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.report.files import ReportFiles

AT = datetime(2026, 11, 24, 4, 30, 15, tzinfo=UTC)


def report(at: datetime = AT, *findings: Finding, job: Job = Job.VERIFY) -> Report:
    return Report(job, at, 1.0, findings=findings)


def test_a_report_is_one_json_file(tmp_path: Path) -> None:
    place = Path(ReportFiles(str(tmp_path / "reports")).save(report()))
    assert json.loads(place.read_text())["schema"] == "zimage-syncd/report/1"
    assert place.name.startswith("20261124T043015-")
    assert place.name.endswith("-verify.json")
    assert os.listdir(tmp_path / "reports") == [place.name]


def test_two_reports_of_one_second_are_both_kept(tmp_path: Path) -> None:
    files = ReportFiles(str(tmp_path))
    assert files.save(report()) != files.save(report())
    assert len(files.recent(9)) == 2


def test_reports_of_one_second_come_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    files = ReportFiles(str(tmp_path))
    jobs = [Job.VERIFY, Job.BACKUP, Job.RESTORE, Job.HEALTH]
    for number, job in enumerate(jobs):
        files.save(report(AT + timedelta(milliseconds=number), job=job))
    assert [row.job for row in files.recent(9)] == [str(job) for job in reversed(jobs)]


def test_reports_of_one_moment_come_in_the_order_in_which_they_were_saved(tmp_path: Path) -> None:
    """Also at the very end of a second, where one replaced the other."""
    files = ReportFiles(str(tmp_path))
    jobs = [Job.VERIFY, Job.BACKUP, Job.VERIFY]
    for job in jobs:
        files.save(report(AT.replace(microsecond=999_999), job=job))
    assert [row.job for row in files.recent(9)] == ["verify", "backup", "verify"]


def test_reports_that_are_too_old_go_and_nothing_else(tmp_path: Path) -> None:
    files = ReportFiles(str(tmp_path), keep_days=30)
    old = files.save(report(AT - timedelta(days=31)))
    young = files.save(report(AT - timedelta(days=29)))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "0-mine.json").write_text("mine")
    now = files.save(report())
    assert not os.path.exists(old)
    assert set(os.listdir(tmp_path)) == {os.path.basename(young), os.path.basename(now), "notes.txt", "0-mine.json"}


def test_one_problem_is_not_told_as_several(tmp_path: Path) -> None:
    files = ReportFiles(str(tmp_path))
    files.save(report(AT, Finding(problems.FILE_DAMAGED, "blob", mended=True)))
    assert files.recent(1)[0].outcome == "1 problem, 1 mended"


def test_the_newest_come_first_with_their_outcome(tmp_path: Path) -> None:
    files = ReportFiles(str(tmp_path))
    damaged = Finding(problems.FILE_DAMAGED, "blob", mended=True)
    files.save(report(AT - timedelta(hours=1)))
    files.save(
        report(AT, damaged, Finding(problems.FILE_MISSING, "b"), Finding(problems.UNPROVED, "c"), job=Job.RESTORE)
    )
    first, second = files.recent(9)
    assert (first.job, first.at, first.outcome) == ("restore", AT, "2 problems, 1 mended")
    assert second.outcome == "good"
    assert [row.path for row in files.recent(1)] == [first.path]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"job": 1, "findings": 3}', b"\xff"])
def test_a_report_that_cannot_be_read_is_passed_over(tmp_path: Path, content: bytes) -> None:
    files = ReportFiles(str(tmp_path))
    good = files.save(report())
    (tmp_path / "20261125T000000-beef-verify.json").write_bytes(content)
    assert [row.path for row in files.recent(9)] == [good]


def test_no_directory_is_no_report(tmp_path: Path) -> None:
    assert ReportFiles(str(tmp_path / "nothing")).recent(9) == []


def test_what_cannot_be_written_is_a_failure_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PathUnwritable, match="file"):
        ReportFiles(str(tmp_path / "file")).save(report())
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_failure_while_it_is_written_leaves_no_half_report(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(PathUnwritable):
            ReportFiles(str(tmp_path)).save(report())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []

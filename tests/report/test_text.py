"""Reports as people read them, to the letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from zimage_syncd.model import problems
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult, SourceUse
from zimage_syncd.report.text import report_text

AT = datetime(2026, 11, 24, 4, tzinfo=UTC)
RESTORED = SnapshotResult(
    snapshot="org/name@main (huggingface)",
    action="restored",
    detail="23 files brought back, 0 mended, 2 entries were right",
    files=25,
    total_bytes=32_880_000_000,
    written_bytes=30_000_000_000,
    linked_bytes=2_880_000_000,
    sources=(SourceUse("shared", 10_000_000_000), SourceUse("bucket", 20_000_000_000)),
    directory="/mnt/data/cache/hub/models--org--name/snapshots/abc",
)


def report(job: Job, *findings: Finding, **fields: object) -> Report:
    return Report(job, AT, 60.0, findings=findings, **fields)  # type: ignore[arg-type]


def test_a_restore_says_how_much_came_from_where_and_how_fast() -> None:
    text = report_text(report(Job.RESTORE, snapshots=(RESTORED,), notes=("linked /root/cache -> /mnt/data/cache",)))
    assert text == (
        "org/name@main (huggingface): restored, 25 files, 32.88 GB\n"
        "  23 files brought back, 0 mended, 2 entries were right\n"
        "  wrote 30.00 GB (500.00 MB/s); 10.00 GB from shared; 20.00 GB from bucket; linked 2.88 GB\n"
        "  /mnt/data/cache/hub/models--org--name/snapshots/abc\n"
        "linked /root/cache -> /mnt/data/cache\n"
        "everything is there; what is linked was not read: `zimage-syncd verify --deep` does (1 min 0 s)\n"
    )


def test_a_restore_that_linked_nothing_has_verified_everything() -> None:
    said = report_text(report(Job.RESTORE, snapshots=(replace(RESTORED, linked_bytes=0),)))
    assert said.endswith("everything is there and verified (1 min 0 s)\n")


def test_findings_are_a_line_each_and_a_remedy_once_for_what_is_left() -> None:
    findings = (
        Finding(problems.FILE_DAMAGED, "hub/blobs/a", "(x.safetensors): chunk 2 of 71 is damaged", (1,), mended=True),
        Finding(problems.FILE_MISSING, "hub/blobs/b"),
        Finding(problems.FILE_MISSING, "hub/blobs/c"),
    )
    remedy = problems.FILE_MISSING.remedy
    assert report_text(report(Job.VERIFY, *findings)) == (
        "ZS203 a file's content is damaged: hub/blobs/a: (x.safetensors): chunk 2 of 71 is damaged [mended]\n"
        "ZS204 a file is missing: hub/blobs/b\n"
        "ZS204 a file is missing: hub/blobs/c\n"
        f"  ZS204: {remedy}\n"
        "3 problems found, 1 mended (1 min 0 s)\n"
    )


def test_a_restore_of_an_intact_cache_says_that_there_was_nothing_to_do() -> None:
    unchanged = SnapshotResult("org/name@main (huggingface)", "unchanged", files=1, total_bytes=5)
    said = report_text(report(Job.RESTORE, snapshots=(unchanged,)))
    assert said.endswith("nothing to do: everything is there and right (1 min 0 s)\n")
    assert "wrote" not in said


def test_a_note_alone_is_no_problem() -> None:
    said = report_text(report(Job.VERIFY, Finding(problems.UNPROVED, "org/name")))
    assert said.endswith("no damage found (1 min 0 s)\n")
    assert report(Job.VERIFY, Finding(problems.UNPROVED, "org/name")).exit_code == 0


@pytest.mark.parametrize("job", list(Job))
def test_every_job_has_its_verdict(job: Job) -> None:
    (line,) = report_text(report(job)).splitlines()
    assert line.endswith(" (1 min 0 s)")


def test_names_cannot_command_the_terminal() -> None:
    hostile = Finding(problems.FILE_DAMAGED, "a\x1b]0;owned\x07\nZS000 forged", "b\x1b[2J")
    said = report_text(report(Job.VERIFY, hostile))
    assert "\x1b" not in said
    assert "\x07" not in said
    assert len(said.splitlines()) == 3

"""Results as JSON: one document with its schema, and the same data as the text."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from zimage_syncd.model import problems
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthResult
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult, SourceUse
from zimage_syncd.report.json_document import report_fields, to_json

AT = datetime(2026, 11, 24, 4, tzinfo=UTC)


def test_a_report_keeps_everything_that_happened() -> None:
    result = SnapshotResult("org/name@main (huggingface)", "restored", sources=(SourceUse("bucket", 7),))
    finding = Finding(problems.FILE_DAMAGED, "blob", "chunk 2", (1,), mended=True)
    document = json.loads(to_json("report", report_fields(Report(Job.VERIFY, AT, 1.5, (result,), (finding,), ("n",)))))
    assert document["schema"] == "zimage-syncd/report/1"
    assert (document["job"], document["started_at"], document["elapsed_s"]) == ("verify", AT.isoformat(), 1.5)
    assert document["exit_code"] == 2
    assert document["snapshots"][0]["sources"] == [{"source": "bucket", "read_bytes": 7}]
    assert document["findings"] == [
        {
            "problem": {
                "code": "ZS203",
                "title": problems.FILE_DAMAGED.title,
                "severity": "error",
                "remedy": problems.FILE_DAMAGED.remedy,
            },
            "subject": "blob",
            "detail": "chunk 2",
            "chunks": [1],
            "mended": True,
        }
    ]
    assert document["notes"] == ["n"]


def test_a_health_result_has_its_words_and_timings() -> None:
    result = HealthResult(HealthOutcome.OK, HealthLevel.LOAD, timings_s=(("load", 1.5),))
    document = json.loads(to_json("health", {"result": result}))
    assert document["result"]["outcome"] == "ok"
    assert document["result"]["timings_s"] == [["load", 1.5]]


def test_names_that_are_no_text_do_not_break_the_document() -> None:
    text = to_json("path", {"path": "raw \udcff \x1b"})
    assert text.isascii()
    assert json.loads(text)["path"] == "raw \udcff \x1b"


def test_what_has_no_form_is_an_error_and_no_silent_text() -> None:
    with pytest.raises(TypeError, match="object"):
        to_json("report", {"x": object()})

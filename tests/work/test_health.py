"""What a health check leaves in its report."""

from __future__ import annotations

from tests.support.caches import hf_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult
from zimage_syncd.model.selection import Selection
from zimage_syncd.ports import Cancel
from zimage_syncd.report.json_document import report_fields
from zimage_syncd.work.health import HealthSettings, check_health


class Painter:
    """A `ports.Probe` that draws at once."""

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        return HealthResult(HealthOutcome.OK, HealthLevel.GENERATE, picture=request.picture)


def test_a_report_names_the_picture_that_was_drawn(bench: Bench) -> None:
    hf_snapshot(bench.root, pipeline_files())
    settings = HealthSettings(HealthLevel.GENERATE, "cpu", 64, 1, 60.0, "/pictures")
    answer = check_health(bench.site(), Painter(), Selection(), settings)
    (row,) = report_fields(answer.report)["snapshots"]
    assert row.picture.startswith("/pictures/")
    assert row.picture.endswith(".png")

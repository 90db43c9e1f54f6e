"""What a health check leaves in its report."""

from __future__ import annotations

import pytest

from tests.support.caches import hf_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, Placement, WhenBusy
from zimage_syncd.model.selection import Selection
from zimage_syncd.ports import Cancel
from zimage_syncd.report.json_document import report_fields
from zimage_syncd.work.health import HealthSettings, check_health


class Painter:
    """A `ports.Probe` that draws at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[HealthRequest, float]] = []

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        self.asked.append((request, timeout_s))
        outcome, level = HealthOutcome.OK, HealthLevel.GENERATE
        return HealthResult(outcome, level, picture=request.picture, placement=Placement.COMPONENTS)


def test_a_report_names_the_picture_that_was_drawn(bench: Bench) -> None:
    hf_snapshot(bench.root, pipeline_files())
    settings = HealthSettings(HealthLevel.GENERATE, "cpu", 64, 1, 60.0, "/pictures")
    answer = check_health(bench.site(), Painter(), Selection(), settings)
    (row,) = report_fields(answer.report)["snapshots"]
    assert row.picture.startswith("/pictures/")
    assert row.picture.endswith(".png")


@pytest.mark.parametrize("policy", WhenBusy)
def test_what_waits_for_the_gpu_has_its_whole_time_left_afterwards(bench: Bench, policy: WhenBusy) -> None:
    hf_snapshot(bench.root, pipeline_files())
    settings = HealthSettings(HealthLevel.GENERATE, "cuda", 64, 1, 60.0, "/pictures", when_busy=policy, wait_s=20.0)
    painter = Painter()
    answer = check_health(bench.site(), painter, Selection(), settings)
    ((request, timeout_s),) = painter.asked
    waits_s = 20.0 if policy is WhenBusy.WAIT else 0.0
    assert (request.when_busy, request.wait_s, timeout_s) == (policy, waits_s, 60.0 + waits_s)
    assert "component by component" in answer.report.snapshots[0].detail

"""What a health check leaves in its report."""

from __future__ import annotations

import os

import pytest

from tests.support.caches import hf_snapshot
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, Placement, WhenBusy
from zimage_syncd.model.selection import Selection
from zimage_syncd.ports import Cancel
from zimage_syncd.report import health_files
from zimage_syncd.report.json_document import report_fields
from zimage_syncd.work.health import HealthSettings, check_health


class Painter:
    """A `ports.Probe` that draws at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[HealthRequest, float]] = []

    def run(self, request: HealthRequest, timeout_s: float, cancel: Cancel) -> HealthResult:
        self.asked.append((request, timeout_s))
        outcome, level = HealthOutcome.OK, HealthLevel.GENERATE
        return HealthResult(
            outcome,
            level,
            picture=request.picture,
            placement=Placement.COMPONENTS,
            timings_s=(("files", 0.049), ("read", 0.05), ("total", 1.26)),
        )


def test_a_report_names_the_picture_that_was_drawn(bench: Bench) -> None:
    hf_snapshot(bench.root, pipeline_files())
    settings = HealthSettings(HealthLevel.GENERATE, "cpu", 64, 1, 60.0, "/pictures")
    answer = check_health(bench.site(), Painter(), Selection(), settings)
    (row,) = report_fields(answer.report)["snapshots"]
    assert row.picture.startswith("/pictures/")
    assert row.picture.endswith(".png")


def test_a_report_tells_where_the_time_went_and_leaves_out_what_took_none(bench: Bench) -> None:
    hf_snapshot(bench.root, pipeline_files())
    settings = HealthSettings(HealthLevel.GENERATE, "cpu", 64, 1, 60.0, "/pictures")
    answer = check_health(bench.site(), Painter(), Selection(), settings)
    assert answer.report.snapshots[0].detail.endswith("component by component; read 0.1 s, total 1.3 s")


def test_no_two_checks_draw_into_one_file(bench: Bench) -> None:
    """Two revisions checked within a second, or two processes: the later picture replaced the earlier one."""
    for commit in ("0123456789abcdef" * 2 + "01234567", "fedcba9876543210" * 2 + "fedcba98"):
        hf_snapshot(bench.root, pipeline_files(), commit=commit)
    settings = HealthSettings(HealthLevel.GENERATE, "cpu", 64, 1, 60.0, "/pictures")
    painter = Painter()
    for _ in range(2):
        check_health(bench.site(), painter, Selection(), settings)
    requests = [request for request, _ in painter.asked]
    files = [file for request in requests for file in (request.picture, request.side_by_side)]
    assert len(set(files)) == len(files) == 8
    for request in requests:
        name = os.path.basename(request.picture)
        assert health_files._PICTURE.fullmatch(name), "it is not removed when there are too many"
        assert name.endswith("-org--name-huggingface.png")


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

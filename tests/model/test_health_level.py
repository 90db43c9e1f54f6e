"""When a check is one that lacked its libraries."""

from __future__ import annotations

import pytest

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, HealthResult, lacks_libraries

MISSING, OK, BUSY = HealthOutcome.MISSING_EXTRA, HealthOutcome.OK, HealthOutcome.GPU_BUSY
AUTO, FILES, LOAD = HealthLevel.AUTO, HealthLevel.FILES, HealthLevel.LOAD


@pytest.mark.parametrize(
    ("asked", "outcome", "device", "lacks"),
    [
        (AUTO, OK, "", True),
        (AUTO, OK, "cpu", False),  # torch was there, and the processor too slow for more than files
        (AUTO, BUSY, "", False),
        (FILES, OK, "", False),
        (LOAD, MISSING, "", True),
        (LOAD, MISSING, "cuda:0 NVIDIA H200", False),  # accelerate is missing
    ],
)
def test_a_check_lacks_libraries(asked: HealthLevel, outcome: HealthOutcome, device: str, lacks: bool) -> None:
    request = HealthRequest("/cache", "huggingface", "a/b", "main", asked)
    assert lacks_libraries(request, HealthResult(outcome, FILES, device=device)) == lacks

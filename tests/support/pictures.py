"""Pictures and references for tests; no numpy needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthResult
from zimage_syncd.model.health_record import HealthRecord
from zimage_syncd.model.picture import FINGERPRINT_BYTES, Conditions, PictureFacts, Reference

AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)

CONDITIONS = Conditions(
    prompt="灯塔",
    seed=42,
    size_px=64,
    steps=2,
    dtype="float32",
    device="cpu",
    versions=(("class", "diffusers.ZImagePipeline"), ("torch", "2.13.0")),
)

FACTS = PictureFacts((0.5, 0.25, 1.0), (0.125, 0.0, 0.5), "ab" * FINGERPRINT_BYTES, "c" * 64)


def reference(manifest_id: str = "a" * 64, **changes: object) -> Reference:
    """A reference; `changes` are of its conditions."""
    return Reference(manifest_id, replace(CONDITIONS, **changes), FACTS, "d" * 64, AT)


def record(number: int = 0, total_s: float = 10.0, snapshot: str = "org/name@main (huggingface)", **changes: object):
    """The record of a good check, `number` hours after `AT`, that drew in `total_s`; `changes` are of its result."""
    result = HealthResult(
        HealthOutcome.OK,
        HealthLevel.GENERATE,
        device="cuda:0 NVIDIA H200",
        dtype="bfloat16",
        timings_s=(("denoising", total_s / 5), ("total", total_s)),
        peak_memory_bytes=23_300_000_000,
        picture=f"/pictures/{number}.png",
    )
    at = AT + timedelta(hours=number)
    return HealthRecord(at, snapshot, "a" * 64, 512, 4, replace(result, **changes))

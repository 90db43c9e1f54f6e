"""Pictures and references for tests; no numpy needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

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

"""What is known of a drawn picture without its pixels, and what a later picture is compared with."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

FINGERPRINT_BYTES = 448
"""16 x 16 luma, 8 x 8 each of two chroma channels and of luma's deviation, one byte each (probe/fingerprint.py)."""

SIMILAR_BELOW = 0.05
"""Distance of two fingerprints below which their pictures are similar.

Measured with a tiny pipeline of random weights: drawn in bfloat16 instead of float32 0.01; with one tensor of the
transformer zeroed 0.08 to 0.46; with another seed 0.65 to 0.72 (docs/health.md).
"""

MAX_REFERENCES = 16
"""Of one snapshot: each is of another card, set of versions, prompt or size."""

MAX_PICTURE_BYTES = 32 * 2**20
"""Of a PNG file: 2048 x 2048 pixels that cannot be compressed take 12.6 MB."""

MAX_VERSION_CHARS = 100
"""Of a version or a class in the conditions of a picture."""

_DECIDING = ("class", "diffusers", "torch", "transformers")
"""Libraries whose versions decide what is drawn; those of Python, numpy or Pillow do not."""


class Likeness(enum.StrEnum):
    """How a picture compares with its reference."""

    SAME = "same"
    """Every pixel is equal."""
    SIMILAR = "similar"
    """The fingerprints' distance is below `SIMILAR_BELOW`."""
    DIFFERENT = "different"
    """It is not."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is measured of a picture of height x width x 3 values from 0 to 1, RGB."""

    mean: tuple[float, float, float]
    """Of each channel, 0 to 1."""
    deviation: tuple[float, float, float]
    """Standard deviation of each channel, 0 to 0.5."""
    fingerprint: str
    """`FINGERPRINT_BYTES` bytes in lower-case hexadecimal."""
    pixels_sha256: str
    """Of the pixels rounded to 0 to 255: one byte a channel, row by row."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What two pictures must have in common to be comparable."""

    prompt: str
    """What was drawn."""
    seed: int
    """Of the noise."""
    size_px: int
    """Width and height in pixels."""
    steps: int
    """Denoising steps."""
    dtype: str
    """Of the weights in memory."""
    device: str
    """The card's model, or cpu."""
    versions: tuple[tuple[str, str], ...]
    """Of the libraries that decide, and the pipeline's class; sorted by name."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The first healthy picture of a snapshot under some conditions: what later ones are compared with."""

    manifest_id: str
    """Of the snapshot that drew it."""
    conditions: Conditions
    """Under which it was drawn."""
    facts: PictureFacts
    """What was measured of it."""
    picture_sha256: str
    """Of its PNG file."""
    made_at: datetime
    """When it was drawn, UTC."""
    picture: str = ""
    """Absolute path of its PNG file on this machine; empty where there is none. Not kept with the rest."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out of comparing a picture with its reference."""

    likeness: Likeness
    """The verdict."""
    distance: float
    """Of the fingerprints: 0 (equal) to 1; unrelated pictures have about 0.7."""
    reference_made_at: datetime
    """When the reference was drawn, UTC."""
    side_by_side: str = ""
    """Absolute path of a PNG: reference, picture, amplified difference; only where they are different."""


def device_model(label: str) -> str:
    """A card's model without its number: pictures of two equal cards are comparable.

    Args:
        label: as in `HealthResult.device`: `cuda:0 NVIDIA H200`, or `cpu`.
    """
    number, _, model = label.partition(" ")
    return model if number.startswith("cuda:") and model else label


def deciding(versions: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Those of the versions that decide what is drawn, sorted by name."""
    return tuple(sorted((name, version[:MAX_VERSION_CHARS]) for name, version in versions if name in _DECIDING))


def fitting(references: tuple[Reference, ...], conditions: Conditions) -> Reference | None:
    """The oldest reference that was drawn under exactly these conditions; None where there is none."""
    found = [reference for reference in references if reference.conditions == conditions]
    return min(found, key=lambda reference: reference.made_at, default=None)

"""What is measured of a picture, and how far two pictures are apart. Needs numpy, not torch.

The fingerprint is a thumbnail by areas, as in the Color Layout Descriptor of MPEG-7 (ISO/IEC 15938-3, 6.6), but kept
as it is instead of as a few coefficients of its cosine transform, and with the texture of each area beside it: random
weights draw pictures whose areas have equal means. Luma and chroma are those of JFIF (ITU-T T.871), from 0 to 1.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy

from zimage_syncd.model.picture import FINGERPRINT_BYTES, SIMILAR_BELOW, Likeness, PictureFacts

_LUMA_CELLS = 16
_CELLS = 8
_PLANES = ((0, 256), (256, 320), (320, 384))
"""Where luma and both chroma channels lie in a fingerprint; the rest is texture."""

_TO_YCC = numpy.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
"""ITU-T T.871, 7."""

_FLOOR = 1.0
"""A step of one byte: differences that rounding alone makes in a flat picture are not blown up."""

_DIGITS = 6
"""Of means and deviations: finer than the step between two neighbours of bfloat16."""


def pixels_of(image: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """The picture as bytes.

    Args:
        image: height x width x 3, any float dtype, values from 0 to 1, on the processor.

    Returns:
        The same shape, uint8, rounded to the nearest.
    """
    pixels: numpy.ndarray[Any, Any] = numpy.ascontiguousarray((image * 255).round().clip(0, 255).astype(numpy.uint8))
    return pixels


def facts_of(image: numpy.ndarray[Any, Any]) -> PictureFacts:
    """Measures a picture.

    Args:
        image: height x width x 3, any float dtype, finite values from 0 to 1, on the processor; height and width are
            multiples of 16.
    """
    pixels = pixels_of(image)
    values = image.astype(numpy.float64).reshape(-1, 3)
    return PictureFacts(
        mean=_three(values.mean(axis=0)),
        deviation=_three(values.std(axis=0)),
        fingerprint=_fingerprint(pixels).hex(),
        pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
    )


def compare(found: PictureFacts, expected: PictureFacts) -> tuple[Likeness, float]:
    """How alike two pictures are, and the distance of their fingerprints, from 0 to 1."""
    apart = distance(found.fingerprint, expected.fingerprint)
    if found.pixels_sha256 == expected.pixels_sha256:
        return Likeness.SAME, apart
    return Likeness.SIMILAR if apart < SIMILAR_BELOW else Likeness.DIFFERENT, apart


def distance(one: str, other: str) -> float:
    """How far two fingerprints are apart: the larger of what their colours and their textures are.

    Colours: the root mean square of what differs, by the sum of both pictures' own contrasts, so that a pale picture
    is told from another pale one as well as a vivid one. Equal pictures have 0, unrelated ones about 0.7, a picture
    and its negative 1. Textures: the same, by the sum of all that either picture varies, between its areas and in them.

    Args:
        one: a fingerprint in hexadecimal.
        other: likewise.

    Returns:
        0 to 1, rounded to four digits.

    Raises:
        ValueError: one of them is no fingerprint.
    """
    a, b = _values(one), _values(other)
    apart = own_a = own_b = 0.0
    for begin, end in _PLANES:
        plane_a, plane_b = a[begin:end], b[begin:end]
        apart += float(((plane_a - plane_b) ** 2).mean())
        own_a, own_b = own_a + float(plane_a.var()), own_b + float(plane_b.var())
    colours = math.sqrt(apart) / (math.sqrt(own_a) + math.sqrt(own_b) + _FLOOR)
    texture_a, texture_b = a[_PLANES[-1][1] :], b[_PLANES[-1][1] :]
    varies = _varies(texture_a, own_a) + _varies(texture_b, own_b) + _FLOOR
    textures = math.sqrt(float(((texture_a - texture_b) ** 2).mean())) / varies
    return round(min(max(colours, textures), 1.0), 4)


def _fingerprint(pixels: numpy.ndarray[Any, Any]) -> bytes:
    """Luma's and chroma's means and luma's deviation, area by area."""
    ycc = pixels.astype(numpy.float64) @ _TO_YCC.T
    luma = _cells(ycc[..., 0], _LUMA_CELLS).mean(axis=(1, 3))
    chroma = [_cells(ycc[..., channel], _CELLS).mean(axis=(1, 3)) + 127.5 for channel in (1, 2)]
    # A deviation is at most half of the range; doubled it uses all of its byte.
    texture = 2 * _cells(ycc[..., 0], _CELLS).std(axis=(1, 3))
    parts = [part.round().clip(0, 255).astype(numpy.uint8).tobytes() for part in (luma, *chroma, texture)]
    return b"".join(parts)


def _cells(plane: numpy.ndarray[Any, Any], count: int) -> numpy.ndarray[Any, Any]:
    """A plane as count x cell height x count x cell width."""
    height, width = plane.shape
    cells: numpy.ndarray[Any, Any] = plane.reshape(count, height // count, count, width // count)
    return cells


def _values(fingerprint: str) -> numpy.ndarray[Any, Any]:
    found = bytes.fromhex(fingerprint)
    if len(found) != FINGERPRINT_BYTES:
        raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, found {len(found)}")
    values: numpy.ndarray[Any, Any] = numpy.frombuffer(found, numpy.uint8).astype(numpy.float64)
    return values


def _varies(texture: numpy.ndarray[Any, Any], between: float) -> float:
    """The root of what a picture varies in its areas and between them (a variance)."""
    return math.sqrt(float((texture**2).mean()) + between)


def _three(values: numpy.ndarray[Any, Any]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), _DIGITS) for value in values)
    return red, green, blue

"""Draws a reference, a picture and their difference beside each other, for people. Needs numpy and Pillow."""

from __future__ import annotations

from typing import Any

import numpy
from PIL import Image, ImageDraw, ImageFont

from zimage_syncd.model.picture import Comparison

_PANEL_PX = (256, 512)
"""Smaller pictures are made larger, for the text above them; nobody needs three of 2048 px to see that they differ."""
_LABEL_PX = 28
_GAP_PX = 8
_FONT_PX = 16
_GROUND = (24, 24, 24)
_INK = (235, 235, 235)


def draw(before: numpy.ndarray[Any, Any], now: numpy.ndarray[Any, Any], comparison: Comparison) -> Image.Image:
    """Three panels with a line of text above each.

    Args:
        before: the reference, size x size x 3, uint8.
        now: the picture, of the same shape.
        comparison: what came out.
    """
    difference, factor = _amplified(before, now)
    panels = (
        (f"reference, {comparison.reference_made_at:%Y-%m-%d %H:%M} UTC", before),
        (f"now, distance {comparison.distance:.4f}", now),
        (f"difference, times {factor}", difference),
    )
    side_px = min(max(before.shape[0], _PANEL_PX[0]), _PANEL_PX[1])
    sheet = Image.new("RGB", (3 * side_px + 2 * _GAP_PX, side_px + _LABEL_PX), _GROUND)
    pen, font = ImageDraw.Draw(sheet), _font()
    for number, (label, pixels) in enumerate(panels):
        left_px = number * (side_px + _GAP_PX)
        pen.text((left_px + 4, 4), label, fill=_INK, font=font)
        sheet.paste(Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.BOX), (left_px, _LABEL_PX))
    return sheet


def _font() -> Any:  # noqa: ANN401 - one of two classes of Pillow, by its version
    """A scalable font; the old one where an older Pillow, or one without FreeType, has no other."""
    try:
        return ImageFont.load_default(_FONT_PX)
    except (TypeError, ImportError, OSError):
        return ImageFont.load_default()


def _amplified(before: numpy.ndarray[Any, Any], now: numpy.ndarray[Any, Any]) -> tuple[numpy.ndarray[Any, Any], int]:
    """The absolute difference, multiplied by as much as the largest one allows, at most 32; and by how much."""
    apart = numpy.abs(before.astype(numpy.int16) - now.astype(numpy.int16))
    factor = min(max(255 // max(int(apart.max()), 1), 1), 32)
    return (apart * factor).astype(numpy.uint8), factor

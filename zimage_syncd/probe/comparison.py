"""Compares a picture with the one that the same weights drew before. Needs numpy and Pillow, not torch."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import Any

import numpy
from PIL import Image

from zimage_syncd.model.health import HealthOutcome, HealthRequest, conditions_of
from zimage_syncd.model.picture import MAX_PICTURE_BYTES, SIMILAR_BELOW, Comparison, Likeness, Reference, fitting
from zimage_syncd.probe import picture, side_by_side
from zimage_syncd.probe.conclusion import Concluded, Progress, first_line
from zimage_syncd.probe.fingerprint import compare, facts_of, pixels_of


class _PictureLost(Exception):
    """A reference's PNG is not there, or not what the reference says."""


def compare_with_reference(image: numpy.ndarray[Any, Any], request: HealthRequest, progress: Progress) -> str:
    """Measures a picture, and compares it with the reference that was drawn alike.

    Args:
        image: as `picture.judge` accepts it.
        request: with the candidates.
        progress: is told what was measured, and what came out.

    Returns:
        What is to be said of it.

    Raises:
        Concluded: different_picture.
    """
    progress.picture_facts = facts_of(image)
    versions = tuple(progress.versions.items())
    reference = fitting(request.references, conditions_of(request, progress.device, progress.dtype, versions))
    if reference is None:
        return _why_none(request)
    likeness, apart = compare(progress.picture_facts, reference.facts)
    progress.comparison = Comparison(likeness, apart, reference.made_at)
    when = f"{reference.made_at:%Y-%m-%d %H:%M} UTC"
    if likeness is Likeness.SAME:
        return f"the picture is the reference of {when}, pixel by pixel"
    if likeness is Likeness.SIMILAR:
        near = f"the picture is like the reference of {when}, and not the same: distance {apart:.4f}"
        return f"{near}; as a rule the same weights draw the same pixels here: `zimage-syncd verify --deep` checks them"
    reason = f"distance {apart:.4f} from the reference of {when}, expected less than {SIMILAR_BELOW}"
    raise Concluded(HealthOutcome.DIFFERENT_PICTURE, f"{reason}; {_show(image, reference, request, progress)}")


def _why_none(request: HealthRequest) -> str:
    if not request.references:
        return "there is no reference yet that the picture could be compared with"
    return (
        f"none of the references ({len(request.references)}) was drawn with this card, these versions, dtype, prompt, "
        "seed, size and steps: the picture was compared with nothing"
    )


def _show(image: numpy.ndarray[Any, Any], reference: Reference, request: HealthRequest, progress: Progress) -> str:
    """Writes both pictures side by side where that is possible; says where, or why not."""
    if not request.side_by_side or progress.comparison is None:
        return "no picture of both was asked for"
    try:
        before = _pixels_of_reference(reference)
        panels = side_by_side.draw(before, pixels_of(image), progress.comparison)
        picture.write_png(panels, request.side_by_side)
    except (_PictureLost, OSError) as error:
        return f"no picture of both: {error if isinstance(error, _PictureLost) else first_line(error)}"
    progress.comparison = replace(progress.comparison, side_by_side=request.side_by_side)
    return f"side by side: {request.side_by_side}"


def _pixels_of_reference(reference: Reference) -> numpy.ndarray[Any, Any]:
    """The reference's own pixels: size x size x 3, uint8.

    Its file may come from an archive: nothing but a PNG of the right size is decoded, and what comes out has to be
    what was measured.

    Raises:
        _PictureLost: as its name says.
        OSError: it cannot be read.
    """
    if not reference.picture or not os.path.isfile(reference.picture):
        raise _PictureLost(f"the reference's is not there: {reference.picture or 'it was never kept'}")
    if os.path.getsize(reference.picture) > MAX_PICTURE_BYTES:
        raise _PictureLost(f"the reference's is larger than {MAX_PICTURE_BYTES} bytes")
    size_px = reference.conditions.size_px
    try:
        with Image.open(reference.picture, formats=["PNG"]) as opened:
            if opened.size != (size_px, size_px) or opened.mode != "RGB":
                raise _PictureLost(f"the reference's is {opened.size} {opened.mode}, expected {size_px} px RGB")
            pixels: numpy.ndarray[Any, Any] = numpy.asarray(opened)
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's, besides OSError
        raise _PictureLost(f"the reference's cannot be read: {first_line(error)}") from error
    if hashlib.sha256(pixels.tobytes()).hexdigest() != reference.facts.pixels_sha256:
        raise _PictureLost(f"the reference's is damaged: {reference.picture}")
    return pixels

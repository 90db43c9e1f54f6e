"""Whether a picture is one, and its PNG file. Needs numpy and Pillow, not torch."""

from __future__ import annotations

import os
import secrets
from typing import Any

import numpy
from PIL import Image, PngImagePlugin

from zimage_syncd.model.health import HealthOutcome
from zimage_syncd.probe.conclusion import Concluded
from zimage_syncd.probe.fingerprint import pixels_of

LEAST_DEVIATION = 0.01
"""Of values from 0 to 1. One colour gives 0, with rounding in bfloat16 up to 0.004; photographs have 0.1 to 0.3."""


def judge(image: numpy.ndarray[Any, Any], size_px: int) -> None:
    """Refuses what no working model draws.

    Args:
        image: height x width x 3, any float dtype, values from 0 to 1, on the processor.
        size_px: expected width and height.

    Raises:
        Concluded: wrong_picture.
    """
    expected = (size_px, size_px, 3)
    if image.shape != expected:
        raise Concluded(HealthOutcome.WRONG_PICTURE, f"expected an array of {expected}, found {image.shape}")
    bad = int(image.size - numpy.isfinite(image).sum())
    if bad:
        raise Concluded(HealthOutcome.WRONG_PICTURE, f"{bad} of {image.size} values are NaN or infinite")
    deviation = float(image.astype(numpy.float64).std())
    if deviation < LEAST_DEVIATION:
        reason = f"expected a standard deviation of at least {LEAST_DEVIATION}, found {deviation:.6f}: it is one colour"
        raise Concluded(HealthOutcome.WRONG_PICTURE, reason)


def save(image: numpy.ndarray[Any, Any], path: str, made_from: dict[str, str]) -> None:
    """Writes a PNG under a temporary name, then renames it.

    Args:
        image: as `judge` accepts it.
        path: absolute; its directory is made if it is not there, a file of this name is replaced.
        made_from: texts that the PNG carries.

    Raises:
        OSError: it cannot be written.
    """
    texts = PngImagePlugin.PngInfo()
    for name, value in made_from.items():
        texts.add_itxt(name, value)
    write_png(Image.fromarray(pixels_of(image)), path, texts)


def write_png(picture: Image.Image, path: str, texts: PngImagePlugin.PngInfo | None = None) -> None:
    """Writes any picture, as `save` does.

    Raises:
        OSError: it cannot be written.
    """
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    # A name as the daemon's own writers use: what a kill leaves is swept with theirs.
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as stream:
            picture.save(stream, format="PNG", pnginfo=texts)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise

"""An interpreter that draws without torch: what it draws is decided by the bytes of the weights.

It is what `health.python` names. Judging, measuring, comparing and writing are the probe's own; only loading and
drawing are not.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPT = """\
#!{python}
import contextlib, glob, hashlib, os, sys
sys.path.insert(0, {root!r})
import numpy
from zimage_syncd.model.health import HealthLevel, HealthOutcome
from zimage_syncd.model.health_json import decode_request, encode_result
from zimage_syncd.probe import comparison, picture
from zimage_syncd.probe.conclusion import Concluded, Progress

request = decode_request(sys.stdin.buffer.read())
progress = Progress(HealthLevel.GENERATE, os.environ.get("LC_CARD", "cpu"), "float32", [("denoising", 2.0)])
progress.versions = {{"torch": "2.13.0", "class": "Painter"}}
weights = hashlib.sha256()
for path in sorted(glob.glob(os.path.join(glob.escape(request.directory), "**", "*.safetensors"), recursive=True)):
    weights.update(open(path, "rb").read())
noise = numpy.random.default_rng(int.from_bytes(weights.digest()[:4], "big"))
image = noise.random((request.size_px, request.size_px, 3), dtype=numpy.float32)
try:
    picture.judge(image, request.size_px)
    with contextlib.suppress(OSError):
        picture.save(image, request.picture, {{}})
        progress.picture = request.picture
    outcome, detail = HealthOutcome.OK, comparison.compare_with_reference(image, request, progress)
except Concluded as end:
    outcome, detail = end.outcome, end.detail
sys.stdout.buffer.write(encode_result(progress.result(outcome, detail)))
"""


def painter(directory: Path) -> str:
    """Writes the program; returns its absolute path. Its card is what `LC_CARD` says."""
    place = directory / "painter"
    place.write_text(_SCRIPT.format(python=sys.executable, root=str(Path(__file__).parents[2])))
    place.chmod(0o755)
    return str(place)

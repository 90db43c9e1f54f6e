"""A health check on a GPU that others use: what the driver tells of their work, and a model in what memory they leave.

    python benchmarks/gpu_others.py SNAPSHOT [RUNS]

First a process that holds some memory and computes for a share of the time, and what the check would make of it. Then
one that leaves so little memory that the model is drawn one component, or one layer, after the other; the pictures are
compared with the one that is drawn with all of it on the GPU. Needs CUDA.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zimage_syncd.model.health import HealthLevel, HealthRequest, HealthResult, WhenBusy
from zimage_syncd.model.health_json import decode_result, encode_request
from zimage_syncd.probe.busy import others_work
from zimage_syncd.probe.gpu import Look, look

_PROBE = str(Path(__file__).parent.parent / "zimage_syncd" / "probe" / "__main__.py")
_NEEDED_BYTES = 22 * 10**9
"""Of a full-size model."""
_CONTEXT_BYTES = 10**9
"""What the holder takes beside what it is told to hold, at most."""
_LOOKS = 5
_HOLDER = """
import sys, time, torch
held = torch.empty(int(sys.argv[1]), dtype=torch.uint8, device="cuda")
share = float(sys.argv[2]) / 100
factor = torch.ones(4096, 4096, device="cuda", dtype=torch.bfloat16)
torch.cuda.synchronize()
print("ready", flush=True)
while True:
    end = time.monotonic() + 0.1 * share
    while time.monotonic() < end:
        factor @ factor
        torch.cuda.synchronize()
    time.sleep(0.1 * (1 - share))
"""
_OTHERS = [(0, 0), (500, 0), (2000, 0), *((0, percent) for percent in (5, 10, 20, 30, 50, 100))]
"""Megabytes held, and the share of the time in which it computes, in percent."""
_LEFT_GB = (20, 6)
"""What the holder leaves: enough for the largest component, and for some layers."""


def main() -> None:
    """Prints both tables."""
    snapshot, runs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print("| another process | NVML: its memory | utilisation in % | work of others |\n| --- | --- | --- | --- |")
    print(f"| none | | {_seen()} |", flush=True)
    for megabytes, percent in _OTHERS:
        with _somebody(megabytes * 10**6, percent) as pid:
            time.sleep(2)  # the driver's value covers the last second
            print(f"| holds {megabytes} MB and computes {percent} % of the time | {_seen(pid)} |", flush=True)
    print("\n| left, GB | how | outcome | s | read | drawing, s | peak, GB | needed, GB | pixels that differ |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    whole = _drawn(snapshot, "all")
    for left_gb in _LEFT_GB:
        seen = look(os.environ)
        if not isinstance(seen, Look):
            raise SystemExit(seen.reason)
        for _ in range(runs):
            with _somebody(seen.free_bytes - left_gb * 10**9 - _CONTEXT_BYTES, 0):
                _drawn(snapshot, str(left_gb), whole)


def _seen(pid: int = 0) -> str:
    """What the driver tells, several times."""
    memory: set[str] = set()
    percents, works = [], set()
    for _ in range(_LOOKS):
        seen = look(os.environ)
        if not isinstance(seen, Look):
            return seen.reason
        memory |= {f"{(process.used_bytes or 0) / 10**6:.0f} MB" for process in seen.processes if process.pid == pid}
        percents.append(str(seen.utilisations))
        works.add(others_work(seen, _NEEDED_BYTES) or "none")
    return f"{', '.join(sorted(memory)) or 'not seen'} | {' '.join(percents)} | {'; '.join(sorted(works))}"


@contextmanager
def _somebody(held_bytes: int, percent: float) -> Iterator[int]:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(held_bytes), str(percent)], stdout=subprocess.PIPE)
    try:
        if holder.stdout is None or holder.stdout.readline() != b"ready\n":
            raise SystemExit("the other process could not begin")
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


def _drawn(snapshot: str, left: str, whole: Path | None = None) -> Path:
    """Draws 256 px in 2 steps, as `when_busy = "smaller"` does at most, and prints a line."""
    picture = Path(f"/tmp/others-{left}.png")
    request = HealthRequest(
        snapshot, "huggingface", "a/b", "main", HealthLevel.GENERATE, size_px=256, steps=2, picture=str(picture),
        when_busy=WhenBusy.SMALLER,
    )  # fmt: skip
    began_s = time.perf_counter()
    done = subprocess.run([sys.executable, _PROBE], input=encode_request(request), stdout=subprocess.PIPE, check=False)
    elapsed_s = time.perf_counter() - began_s
    result: HealthResult = decode_result(done.stdout)
    spent_s = dict(result.timings_s)
    drawing_s = sum(spent_s.get(name, 0.0) for name in ("text encoding", "denoising", "decoding"))
    print(
        f"| {left} | {result.placement} | {result.outcome} {result.detail} | {elapsed_s:.1f} "
        f"| {spent_s.get('read', 0.0):.1f} | {drawing_s:.1f} | {result.peak_memory_bytes / 10**9:.1f} "
        f"| {result.needed_memory_bytes / 10**9:.1f} | {_difference(picture, whole)} |",
        flush=True,
    )
    return picture


def _difference(picture: Path, whole: Path | None) -> str:
    if whole is None or not picture.exists():
        return ""
    from PIL import Image, ImageChops

    with Image.open(picture) as one, Image.open(whole) as other:
        counts = ImageChops.difference(one.convert("L"), other.convert("L")).histogram()
    most = max(level for level, count in enumerate(counts) if count)
    return f"{sum(counts[1:])} of {sum(counts)}, by {most} of 255 at most"


if __name__ == "__main__":
    main()

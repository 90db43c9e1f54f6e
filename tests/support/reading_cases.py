"""Reads weights with torch, each case in a process of its own: torch's threads are not to stay in that of the tests.

`python -m tests.support.reading_cases CASE DIRECTORY`
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
import torch

from tests.support.safetensors_edit import write_safetensors
from zimage_syncd.model.health import HealthOutcome
from zimage_syncd.probe import reading, weights
from zimage_syncd.probe.conclusion import Concluded
from zimage_syncd.probe.device import Device
from zimage_syncd.probe.reading import Reading
from zimage_syncd.probe.weights import find_weights


def whole_and_converted(place: Path) -> None:
    weights.PIECE_BYTES = reading.PIECE_BYTES = 512
    generator = torch.Generator().manual_seed(3)
    half = torch.randn(33, 7, generator=generator).to(torch.bfloat16)
    single = torch.randn(500, generator=generator)
    tensors = {
        "a odd": ("U8", [3], b"abc"),  # what follows begins where no float may
        "b half": ("BF16", [33, 7], half.view(torch.uint8).numpy().tobytes()),
        "c single": ("F32", [500], single.view(torch.uint8).numpy().tobytes()),
        "d number": ("F32", [], struct.pack("<f", 2.5)),
        "e empty": ("F32", [0, 4], b""),
        "f whole": ("I64", [2], struct.pack("<2q", -1, 2**40)),
    }
    write_safetensors(str(place / "model.safetensors"), tensors)
    found = find_weights(str(place.parent), "part", "transformers")
    assert len(found.pieces) > 4
    read = reading.Reading([found], Device("cpu", "cpu", torch.bfloat16)).finish()["part"]
    assert list(read) == list(tensors)
    assert bytes(read["a odd"].tolist()) == b"abc"
    assert torch.equal(read["b half"], half)
    assert torch.equal(read["c single"], single.to(torch.bfloat16))
    assert read["d number"].shape == ()
    assert read["d number"].item() == 2.5
    assert read["e empty"].shape == (0, 4)
    assert read["f whole"].tolist() == [-1, 2**40]


def cut_off(place: Path) -> None:
    path = place / "model.safetensors"
    write_safetensors(str(path), {"one": ("F32", [2500], bytes(10_000))})
    found = find_weights(str(place.parent), "part", "transformers")
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(Concluded) as caught:
        Reading([found], Device("cpu", "cpu", torch.float32)).finish()
    assert caught.value.outcome is HealthOutcome.LOAD_FAILED
    assert str(path) in caught.value.detail
    os.unlink(path)
    with pytest.raises(Concluded, match="No such file"):
        Reading([found], Device("cpu", "cpu", torch.float32)).finish()


if __name__ == "__main__":
    {"whole": whole_and_converted, "cut off": cut_off}[sys.argv[1]](Path(sys.argv[2]))

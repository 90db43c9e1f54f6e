"""The data that is moved: random bytes in the proportions of Z-Image-Turbo, laid out as a Hugging Face cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.caches import hf_snapshot
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes

SHARES = (1246, 1246, 584, 495, 499, 12, 21)
"""Megabytes of the model's large files at 1/8 of their size."""

FULL_MEGABYTES = sum(SHARES)

_REPOSITORY = "hub/models--org--name"


@dataclass(frozen=True)
class Dataset:
    """A cache that was built."""

    cache: Path
    """Its directory."""
    size_bytes: int
    """Of all payload."""

    @property
    def blobs(self) -> Path:
        """The directory of the payload files."""
        return self.cache / _REPOSITORY / "blobs"

    def shard(self, number: int) -> Path:
        """The payload file behind a large file, by its position in `SHARES`."""
        return next((self.cache / _REPOSITORY / "snapshots").iterdir()).joinpath(_name(number)).resolve()


class _Files(Mapping[str, bytes]):
    """Made one at a time, when they are asked for: all of them would take gigabytes of memory."""

    def __init__(self, megabytes: int) -> None:
        self._small = pipeline_files()
        self._sizes = {
            _name(number): share * megabytes * 10**6 // FULL_MEGABYTES for number, share in enumerate(SHARES)
        }

    def __getitem__(self, name: str) -> bytes:
        if name in self._sizes:
            return safetensors_bytes({"x": os.urandom(self._sizes[name])})
        return self._small[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._small, *self._sizes))

    def __len__(self) -> int:
        return len(self._small) + len(self._sizes)


def _name(number: int) -> str:
    return f"part{number}/model.safetensors"


def build(cache: Path, megabytes: int) -> Dataset:
    """Makes the data set; small files are there as a real pipeline has them."""
    hf_snapshot(cache, _Files(megabytes))
    dataset = Dataset(cache, 0)
    return Dataset(cache, sum(path.stat().st_size for path in dataset.blobs.iterdir()))

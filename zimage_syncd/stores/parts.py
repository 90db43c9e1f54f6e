"""The parts of one upload: how many there are, how long each is, and which must be there before it is complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from zimage_syncd.model.failures import FileChanging, StoreBroken
from zimage_syncd.ports import PartBody

PART_BYTES = 16 * 2**20
"""Unit of part sizes (design: chunk); also above the least that S3 takes, 5 MiB."""

MAX_PARTS = 10_000
"""Of one upload (docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)."""

_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Parts:
    """How an object of a known size is cut."""

    key: str
    """The object."""
    size_bytes: int
    """Of the whole object."""
    part_bytes: int
    """Of every part but the last."""

    @classmethod
    def of(cls, key: str, size_bytes: int) -> Parts:
        """The smallest multiple of 16 MiB that needs no more than 10,000 parts."""
        least = -(-size_bytes // MAX_PARTS)
        return cls(key, size_bytes, PART_BYTES * max(1, -(-least // PART_BYTES)))

    @property
    def count(self) -> int:
        """How many parts are needed; none for an empty object."""
        return -(-self.size_bytes // self.part_bytes)

    def offset(self, number: int) -> int:
        """Where part `number` (from 1) begins, in bytes."""
        return (number - 1) * self.part_bytes

    def length(self, number: int) -> int:
        """The length of part `number` (from 1) in bytes; less than 1 where there is none."""
        return min(self.part_bytes, self.size_bytes - self.offset(number))

    def check(self, number: int, body: PartBody) -> int:
        """The length of part `number` in bytes.

        Raises:
            ValueError: there is no such part, or the body has another length (a caller's mistake).
        """
        if not 1 <= number <= max(1, self.count):
            raise ValueError(f"{self.key}: part {number} of {self.count}")
        expected = self.length(number)
        if len(body) != expected:
            raise ValueError(f"{self.key}: part {number} has {len(body)} bytes, expected {expected}")
        return expected

    def require_all(self, sent: Collection[int]) -> None:
        """Makes sure that nothing is missing.

        Raises:
            StoreBroken: a part was never sent, so the object would be torn.
        """
        missing = [number for number in range(1, self.count + 1) if number not in sent]
        if missing:
            raise StoreBroken(self.key, f"part {missing[0]} of {self.count} was not sent")


def pieces_of(key: str, body: PartBody) -> Iterator[bytes]:
    """The part from its beginning, in pieces of at most 1 MiB.

    Raises:
        FileChanging: it ends before its length.
    """
    body.seek(0)
    rest = len(body)
    while rest:
        piece = body.read(min(rest, _PIECE_BYTES))
        if not piece:
            raise FileChanging(key, f"a part ended {rest} bytes before its {len(body)}")
        rest -= len(piece)
        yield piece

"""One part of an S3 upload: its body, and what the server has of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from zimage_syncd.model.failures import FileChanging
from zimage_syncd.ports import PartBody


class BodyFailed(BaseException):
    """Carries what a body raised past botocore, which would wrap any `Exception` and try three times more."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class Body:
    """A part's body as botocore takes it: seekable, of a known length, and never shorter than that."""

    def __init__(self, subject: str, body: PartBody) -> None:
        self._subject = subject
        self._body = body
        self._length = len(body)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` more bytes."""
        try:
            data = self._body.read(size)
            if not data and size and self._body.tell() < self._length:
                # Otherwise the server would wait for the rest until one of the two gives up.
                found = self._body.tell()
                raise FileChanging(self._subject, f"a part ended after {found} of {self._length} bytes")
        except Exception as error:
            raise BodyFailed(error) from error
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to `offset` within the part."""
        try:
            return self._body.seek(offset, whence)
        except Exception as error:
            raise BodyFailed(error) from error

    def tell(self) -> int:
        """The present position within the part."""
        return self._body.tell()

    def __len__(self) -> int:
        return self._length


@dataclass(frozen=True, slots=True)
class Sent:
    """What the server has of one part."""

    etag: str
    """As the server gave it."""
    crc32: str
    """As its header holds it; empty where the server checks none."""

    @classmethod
    def of_mark(cls, mark: str) -> Sent:
        """What `mark` was made of."""
        crc32, _, etag = mark.partition(" ")
        return cls(etag, crc32)

    @property
    def mark(self) -> str:
        """Both in one string."""
        return f"{self.crc32} {self.etag}"

    def for_completion(self, number: int) -> dict[str, Any]:
        """As `CompleteMultipartUpload` takes it."""
        checksum = {"ChecksumCRC32": self.crc32} if self.crc32 else {}
        return {"PartNumber": number, "ETag": self.etag, **checksum}


def mark_checksums(marks: Iterable[str]) -> bool | None:
    """Whether the parts of an upload had checksums with them, by their marks; None where not all agree."""
    found = {bool(Sent.of_mark(mark).crc32) for mark in marks}
    return found.pop() if len(found) == 1 else None

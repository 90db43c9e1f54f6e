"""A large blob on its way into an archive, in parts."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class PartBody(Protocol):
    """A part's bytes: read in order, gone back in when a request is repeated."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` more bytes; b"" at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to `offset` within the part."""

    def tell(self) -> int:
        """The present position within the part."""

    def crc32(self) -> int:
        """CRC-32 (zlib) of the whole part as it is now; moves within the part."""

    def __len__(self) -> int:
        """Bytes of the part."""


class BlobUpload(Protocol):
    """A blob that is being uploaded in parts (see `stores.object_store.Upload`)."""

    @property
    def id(self) -> str:
        """The store's own name for the upload."""

    @property
    def part_bytes(self) -> int:
        """Size of every part but the last: a multiple of 16 MiB."""

    def put_part(self, number: int, body: PartBody) -> None:
        """Sends part `number` (from 1)."""

    def complete(self) -> None:
        """Makes the blob appear."""

    def abort(self) -> None:
        """Gives it up."""


@runtime_checkable
class ResumedUpload(Protocol):
    """An upload whose parts a later process can go on with."""

    def mark(self, number: int) -> str:
        """What the store calls part `number`, which it was sent; the same mark is the same content."""

    def there(self) -> frozenset[int]:
        """Numbers of the parts that an earlier process sent and the store still has, under the marks they had."""

    def keep_part(self, number: int) -> None:
        """Takes one of those as it is. The caller knows that it has the right content."""

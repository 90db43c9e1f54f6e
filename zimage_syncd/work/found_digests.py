"""The digests of a snapshot's files while it is backed up: 100 bytes each instead of 600."""

from __future__ import annotations

from zimage_syncd.digest import FileDigests

_DIGEST_BYTES = 32
_SIZE_BYTES = 8


class FoundDigests:
    """Digests by the number of their file in the snapshot; safe to fill from several threads.

    Args:
        count: how many files there are.
    """

    def __init__(self, count: int) -> None:
        self._packed: list[bytes] = [b""] * count

    def put(self, number: int, digests: FileDigests) -> None:
        """Keeps those of one file, but for git's: whoever read the file has compared that."""
        size = digests.size_bytes.to_bytes(_SIZE_BYTES)
        self._packed[number] = b"".join((size, *map(bytes.fromhex, (digests.sha256, *digests.chunks))))

    def get(self, number: int) -> FileDigests:
        """Those of one file.

        Raises:
            KeyError: they were never found.
        """
        packed = self._packed[number]
        if not packed:
            raise KeyError(number)
        starts = range(_SIZE_BYTES, len(packed), _DIGEST_BYTES)
        sha256, *chunks = (packed[at : at + _DIGEST_BYTES].hex() for at in starts)
        return FileDigests(int.from_bytes(packed[:_SIZE_BYTES]), sha256, "", tuple(chunks))

"""Bodies of upload parts, whole ones and such as fail."""

from __future__ import annotations

import io
import zlib


class PartBytes(io.BytesIO):
    """A part whose bytes are in memory."""

    def crc32(self) -> int:
        return zlib.crc32(self.getbuffer())

    def __len__(self) -> int:
        return self.getbuffer().nbytes


class ShortPart(PartBytes):
    """Promises more than it has, like a window of a file that was truncated."""

    def __init__(self, data: bytes, promised: int) -> None:
        super().__init__(data)
        self._promised = promised

    def __len__(self) -> int:
        return self._promised


class FailingPart(PartBytes):
    """Raises in the middle."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self._error = error
        self.reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.tell() > len(self) // 2:
            raise self._error
        return super().read(size)

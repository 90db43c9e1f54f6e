"""What a manifest consists of: files with their digests, symlinks, pointers; each validates itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zimage_syncd.model.failures import ManifestInvalid
from zimage_syncd.model.path import RelPath, resolve_link
from zimage_syncd.model.private import private_part

CHUNK_BYTES = 16 * 2**20
"""Unit of transfer, verification and repair: a repair fetches little, and a request's own cost vanishes."""

MAX_FILE_BYTES = 2**44
"""16 TiB, the largest file that ext4 holds with 4 KiB blocks."""

MAX_POINTER_BYTES = 64 * 2**20
"""`trees/<commit>.json` of a dataset with 100,000 files is about 20 MB."""

_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file."""

    path: RelPath
    """From the cache directory."""
    size_bytes: int
    """0 to 2^44."""
    mode: int
    """Permission bits, 0 to 0o777."""
    sha256: str
    """Of the whole content, lower-case hexadecimal: the file's identity and its blob's name."""
    chunks: tuple[str, ...]
    """BLAKE3-256 of each 16 MiB chunk in order, lower-case hexadecimal; empty for an empty file."""

    def __post_init__(self) -> None:
        """Validates sizes, digests and counts."""
        if not 0 <= self.size_bytes <= MAX_FILE_BYTES:
            raise ManifestInvalid(self.path, f"size {self.size_bytes} is out of bounds")
        if not 0 <= self.mode <= 0o777:
            raise ManifestInvalid(self.path, f"mode {self.mode:o} is out of bounds")
        if len(self.chunks) != chunk_count(self.size_bytes):
            expected = chunk_count(self.size_bytes)
            raise ManifestInvalid(self.path, f"{len(self.chunks)} chunks, expected {expected} for its size")
        if _is_digest(self.sha256) is None or not all(map(_is_digest, self.chunks)):
            raise ManifestInvalid(self.path, "a digest is not 64 lower-case hexadecimal digits")

    def chunk_length(self, index: int) -> int:
        """Bytes of chunk `index`: 16 MiB, less for the last one."""
        return min(CHUNK_BYTES, self.size_bytes - index * CHUNK_BYTES)


@dataclass(frozen=True, slots=True)
class LinkEntry:
    """A relative symlink that stays inside the cache."""

    path: RelPath
    """From the cache directory."""
    target: str
    """The link's text; `..` only at its beginning."""

    def __post_init__(self) -> None:
        """Refuses targets that leave the cache or touch what is private."""
        hidden = private_part(resolve_link(self.path, self.target))
        if hidden is not None:
            raise ManifestInvalid(self.path, f"the link leads to {hidden!r}, which no snapshot contains")


@dataclass(frozen=True, slots=True)
class PointerEntry:
    """A small text file by which a library finds the snapshot; it may move later without being damage."""

    path: RelPath
    """From the cache directory."""
    text: str
    """The whole content."""
    mode: int = 0o644
    """Permission bits, 0 to 0o777; huggingface_hub writes its lists (`trees/`) with 0600."""

    def __post_init__(self) -> None:
        """Bounds mode and text."""
        if not 0 <= self.mode <= 0o777:
            raise ManifestInvalid(self.path, f"mode {self.mode:o} is out of bounds")
        try:
            size = len(self.text.encode())
        except UnicodeEncodeError as error:
            raise ManifestInvalid(self.path, "a pointer's text is not Unicode") from error
        if size > MAX_POINTER_BYTES:
            raise ManifestInvalid(self.path, f"a pointer of {size} bytes")


Entry = FileEntry | LinkEntry | PointerEntry


def chunk_count(size_bytes: int) -> int:
    """How many chunks a file of `size_bytes` has; 0 for an empty one."""
    return -(-size_bytes // CHUNK_BYTES)

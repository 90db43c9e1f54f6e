"""The one place that hashes: SHA-256 of whole files, BLAKE3 of chunks, git's blob SHA-1.

Works on buffers and descriptors; knows nothing of caches. All the hashes release the GIL for buffers of this size.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from zimage_syncd.model.manifest import CHUNK_BYTES, chunk_count
from zimage_syncd.model.snapshot import DigestAlgorithm, ExpectedDigest

PIECE_BYTES = 2**20
"""How much is read and hashed at a time: small enough to stay in a core's cache (measured: 256 KiB to 1 MiB)."""


class Hasher(Protocol):
    """What hashlib and blake3 have in common."""

    def update(self, data: memoryview | bytes, /) -> object:
        """Takes more bytes."""

    def hexdigest(self) -> str:
        """The digest so far, lower-case hexadecimal."""


@dataclass(frozen=True, slots=True)
class FileDigests:
    """All digests of a file's content."""

    size_bytes: int
    """How many bytes were read."""
    sha256: str
    """Of all of them."""
    git_sha1: str
    """As git names a blob of this content; empty where it was not asked for."""
    chunks: tuple[str, ...]
    """BLAKE3-256 of each 16 MiB chunk."""

    def matches(self, expected: ExpectedDigest) -> bool:
        """Whether the content is what `expected` says."""
        return expected.hex == (self.sha256 if expected.algorithm is DigestAlgorithm.SHA256 else self.git_sha1)


def new_chunk_hasher() -> Hasher:
    """A BLAKE3-256 over one chunk."""
    hasher: Hasher = blake3()
    return hasher


def md5_base64(data: bytes) -> str:
    """What S3's Content-MD5 header holds: a body that was cut off is then refused.

    SeaweedFS 4.48 keeps an empty object where a client dies between a PUT's header and its body, unless it has this.
    """
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def crc32_base64(crc32: int) -> str:
    """A CRC-32 as S3's header x-amz-checksum-crc32 holds it: base64 of the number, most significant byte first.

    Source: docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def md5_hex(data: bytes) -> str:
    """The MD5 of a small object, as S3 servers give it for an ETag; lower-case hexadecimal, no proof of anything."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class FileHasher:
    """Hashes a file's bytes as they pass in order: SHA-256, and BLAKE3 of each chunk; optionally git's SHA-1.

    A copy can be kept and gone back to, so that an upload's part can be sent again.
    """

    def __init__(self, size_bytes: int, *, with_git_sha1: bool = False) -> None:
        self.size_bytes = size_bytes
        self._sha256 = hashlib.sha256()
        self._git_sha1 = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False) if with_git_sha1 else None
        self._chunk = blake3()
        self._chunks: list[str] = []
        self.taken_bytes = 0

    def update(self, data: memoryview | bytes) -> None:
        """Takes the next bytes."""
        view = memoryview(data)
        self._sha256.update(view)
        if self._git_sha1 is not None:
            self._git_sha1.update(view)
        while view:
            room = CHUNK_BYTES - self.taken_bytes % CHUNK_BYTES
            piece = view[:room]
            self._chunk.update(piece)
            self.taken_bytes += len(piece)
            if len(piece) == room:
                self._chunks.append(self._chunk.hexdigest())
                self._chunk = blake3()
            view = view[room:]

    def copy(self) -> FileHasher:
        """The same state, independent from here on."""
        twin = copy.copy(self)
        twin._sha256, twin._chunk = self._sha256.copy(), self._chunk.copy()
        if self._git_sha1 is not None:
            twin._git_sha1 = self._git_sha1.copy()
        twin._chunks = list(self._chunks)
        return twin

    def chunks_from(self, index: int) -> tuple[str, ...]:
        """BLAKE3-256 of the chunks from `index` on, of the last one as much as was taken."""
        chunks = self._chunks[index:]
        if len(self._chunks) < chunk_count(self.taken_bytes):
            chunks.append(self._chunk.hexdigest())
        return tuple(chunks)

    def digests(self) -> FileDigests:
        """The digests of what was taken."""
        git_sha1 = self._git_sha1.hexdigest() if self._git_sha1 is not None else ""
        return FileDigests(self.taken_bytes, self._sha256.hexdigest(), git_sha1, self.chunks_from(0))


def hash_as_written(
    pieces: Iterable[memoryview], offset: int, length: int, write: Callable[[int, memoryview], None]
) -> Generator[tuple[int, str], None, None]:
    """Writes a run of chunks, and yields each one's index and the digest of what was written: hashed in the cache.

    Args:
        pieces: the run's bytes in views of any size; what comes beyond the run is not taken.
        offset: where the run begins in the file, in bytes; a multiple of `CHUNK_BYTES`.
        length: its bytes; the last chunk may be shorter.
        write: takes an offset in the file and what belongs there; may raise.
    """
    end = offset + length
    hasher, until = new_chunk_hasher(), min(offset + CHUNK_BYTES, end)
    for piece in pieces:
        rest = piece
        while len(rest) and offset < end:
            part = rest[: until - offset]
            hasher.update(part)
            write(offset, part)
            offset += len(part)
            rest = rest[len(part) :]
            if offset == until:
                yield (offset - 1) // CHUNK_BYTES, hasher.hexdigest()
                hasher, until = new_chunk_hasher(), min(offset + CHUNK_BYTES, end)
        if offset == end:
            return


def read_pieces(descriptor: int, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
    """Yields `length` bytes from `offset` in views of `buffer`; fewer where the file ends.

    Raises:
        OSError: the disk cannot give them.
    """
    end = offset + length
    while offset < end:
        count = os.preadv(descriptor, [buffer[: min(len(buffer), end - offset)]], offset)
        if count == 0:
            return
        yield buffer[:count]
        offset += count


def hash_descriptor(
    descriptor: int,
    size_bytes: int,
    *,
    with_git_sha1: bool = False,
    on_piece: Callable[[int], None] = lambda _count: None,
) -> FileDigests:
    """Reads a whole file and gives all its digests.

    Args:
        descriptor: open for reading; its offset does not matter.
        size_bytes: what `fstat` says; git's SHA-1 needs it beforehand.
        with_git_sha1: compute that one, too.
        on_piece: is told of every piece's length; may raise to stop.

    Raises:
        OSError: the disk cannot give the bytes.
    """
    hasher = FileHasher(size_bytes, with_git_sha1=with_git_sha1)
    # Memory that is made for a file is cleared first: for a small one that took longer than to read it.
    buffer = memoryview(bytearray(min(PIECE_BYTES, max(size_bytes, 1))))
    for piece in read_pieces(descriptor, 0, max(size_bytes, 1), buffer):
        hasher.update(piece)
        on_piece(len(piece))
    return hasher.digests()


def hash_chunk(descriptor: int, index: int, length: int, buffer: memoryview) -> str:
    """BLAKE3-256 of chunk `index` (`length` bytes) of a file; the digest of what is there where the file is shorter.

    Raises:
        OSError: the disk cannot give the bytes.
    """
    hasher = new_chunk_hasher()
    for piece in read_pieces(descriptor, index * CHUNK_BYTES, length, buffer):
        hasher.update(piece)
    return hasher.hexdigest()

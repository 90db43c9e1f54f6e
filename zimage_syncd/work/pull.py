"""One run of chunks from one source into a partial file: a byte is hashed and written while it is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zimage_syncd.digest import new_chunk_hasher
from zimage_syncd.model.failures import Failure
from zimage_syncd.ports import ChunkSource, OnBytes
from zimage_syncd.work.gathering import Run


class NotWritten(Exception):
    """A piece could not be written; kept apart from what a source may raise."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def pull(
    source: ChunkSource, run: Run, buffer: memoryview, on_piece: OnBytes, check: Callable[[], None]
) -> Iterator[tuple[int, str]]:
    """Yields the index of every chunk as it has been written, and the digest of what was written.

    Args:
        source: what to read from; what it would give beyond what was asked for is not taken.
        run: what to read; its file's partial is written to.
        buffer: pieces are read into it.
        on_piece: is told of every piece's bytes, and of 0 with every sign of life; may raise to stop.
        check: called with every piece; may raise to stop.

    Raises:
        NotWritten: our own disk failed; no other source would help.
        Failure: as the source.
    """
    entry, partial = run.file.entry, run.file.partial
    index, offset = run.chunks.start, run.offset
    hasher, left = new_chunk_hasher(), entry.chunk_length(index)
    for piece in source.read(entry, offset, run.length, buffer):
        check()
        if not len(piece):
            on_piece(0)
        rest = piece
        while len(rest):
            part = rest[:left]
            hasher.update(part)
            try:
                partial.write(offset, part)
            except Failure as failure:
                raise NotWritten(failure) from failure
            offset += len(part)
            left -= len(part)
            rest = rest[len(part) :]
            on_piece(len(part))
            if left == 0:
                yield index, hasher.hexdigest()
                index += 1
                if index not in run.chunks:
                    return
                hasher, left = new_chunk_hasher(), entry.chunk_length(index)

"""One run of chunks from one source into a partial file: a byte is hashed and written while it is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator

from zimage_syncd.digest import hash_as_written
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
) -> Generator[tuple[int, str], None, None]:
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

    def write(offset: int, part: memoryview) -> None:
        try:
            partial.write(offset, part)
        except Failure as failure:
            raise NotWritten(failure) from failure
        on_piece(len(part))

    pieces = _told(source.read(entry, run.offset, run.length, buffer), on_piece, check)
    return hash_as_written(pieces, run.offset, run.length, write)


def _told(pieces: Iterable[memoryview], on_piece: OnBytes, check: Callable[[], None]) -> Iterator[memoryview]:
    for piece in pieces:
        check()
        if not len(piece):
            on_piece(0)
        yield piece

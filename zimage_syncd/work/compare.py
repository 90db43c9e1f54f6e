"""Compares a file's chunks with the digests of its manifest, a chunk a task, and tells what is wrong with it.

Reads only. What the disk cannot give is told apart from what it gives wrongly.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from zimage_syncd.digest import new_chunk_hasher
from zimage_syncd.model import problems
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.ports import OnBytes, Reader
from zimage_syncd.work.spread import Task

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a file's content; nothing where both are empty."""

    wrong: tuple[int, ...] = ()
    """Indexes of chunks with another content, ascending."""
    unreadable: tuple[int, ...] = ()
    """Indexes of chunks that the disk could not give, ascending."""
    error: str = ""
    """What the system said of the last of those."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(sorted((*self.wrong, *self.unreadable)))

    @property
    def problem(self) -> problems.Problem:
        """What a verification calls this: a disk that cannot read is the graver news."""
        return problems.DISK_ERROR if self.unreadable else problems.FILE_DAMAGED

    def describe(self, entry: FileEntry) -> str:
        """A sentence that names the chunks, counted from 1."""
        parts = []
        if self.unreadable:
            parts.append(f"{_named(self.unreadable, entry)} cannot be read ({self.error})")
        if self.wrong:
            parts.append(f"{_named(self.wrong, entry)} {'is' if len(self.wrong) == 1 else 'are'} damaged")
        return "; ".join(parts)


def _named(chunks: tuple[int, ...], entry: FileEntry) -> str:
    shown = ", ".join(str(index + 1) for index in chunks[:_SHOWN]) + (", …" if len(chunks) > _SHOWN else "")
    return f"{'chunk' if len(chunks) == 1 else 'chunks'} {shown} of {len(entry.chunks)}"


class Comparison:
    """One open file that is being compared, by any number of threads at once."""

    def __init__(
        self, entry: FileEntry, descriptor: int, on_read: OnBytes, on_handled: OnBytes, finish: Callable[[Damage], None]
    ) -> None:
        """Takes over the descriptor.

        Args:
            entry: what the content shall be.
            descriptor: open for reading; closed when the last chunk was compared, or by `close`.
            on_read: is told of every piece that was read; may raise to stop.
            on_handled: is told of the bytes of a chunk that were not read, since the disk refused.
            finish: is given the result, by the thread that compared the last chunk.
        """
        self.entry = entry
        self._descriptor = descriptor
        self._on_read = on_read
        self._on_handled = on_handled
        self._finish = finish
        self._lock = threading.Lock()
        self._left = len(entry.chunks)
        self._wrong: list[int] = []
        self._unreadable: list[int] = []
        self._error = ""

    def start(self, reader: Reader) -> Sequence[Task]:
        """One task for each chunk; a file of one chunk is compared at once."""
        reader.begin(self._descriptor)
        if self._left == 0:
            return self._end()
        if self._left == 1:
            return self._chunk(0, reader)
        return [partial(self._chunk, index) for index in range(self._left)]

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _chunk(self, index: int, reader: Reader) -> Sequence[Task]:
        length, read_bytes, error = self.entry.chunk_length(index), 0, None
        hasher = new_chunk_hasher()
        try:
            for piece in reader.pieces(self._descriptor, index * CHUNK_BYTES, length):
                hasher.update(piece)
                read_bytes += len(piece)
                self._on_read(len(piece))
        except OSError as caught:
            error = caught
        self._on_handled(length - read_bytes)
        with self._lock:
            if error is not None:
                self._unreadable.append(index)
                self._error = error.strerror or str(error)
            elif hasher.hexdigest() != self.entry.chunks[index]:
                self._wrong.append(index)
            self._left -= 1
            last = self._left == 0
        return self._end() if last else ()

    def _end(self) -> Sequence[Task]:
        self.close()
        self._finish(Damage(tuple(sorted(self._wrong)), tuple(sorted(self._unreadable)), self._error))
        return ()

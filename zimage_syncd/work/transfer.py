"""Any chunk from any source: pieces are hashed and written while they are in the processor's cache.

Workers are spread over files, since many writers to one inode wait for its lock. A chunk counts when its digest
matches, a file gets its final name when all its chunks count, and one bad file never stops the others.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from zimage_syncd.digest import PIECE_BYTES, new_chunk_hasher
from zimage_syncd.model import problems
from zimage_syncd.model.failures import BlobMissing, ChunkCorrupt, Failure, Stopped, StoreUnreachable
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import Cancel, ChunkSource, FileStat, Monitor, Partial

WORKERS = 8
"""Threads; 4 to 8 saturate a loopback server on 2 cores, and 16 a 16-core machine (measured)."""

_FILES_AT_ONCE = 64
"""How many files are open at a time; bounds descriptors, whatever a manifest holds."""

_GIVE_UP_AFTER = 3
"""A source that could not be reached so often in a row is not asked again in this transfer."""


@dataclass(frozen=True, slots=True)
class Gather:
    """One file that is to be gathered."""

    file: FileEntry
    """What it shall be."""
    open: Callable[[], Partial]
    """Opens its partial; called once, when its turn comes."""
    missing: Callable[[Partial], list[int]]
    """Which chunks the partial lacks; called once, after `open`."""
    finish: Callable[[Partial], FileStat]
    """Gives it its final name."""
    keep_failed: bool = True
    """Whether the partial of a file that failed stays for the next run; a repair's is a copy that is made again."""


@dataclass(slots=True)
class Gathered:
    """What a transfer did."""

    finished: dict[str, FileStat] = field(default_factory=dict)
    """Stats of the files that have their final names, by path."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """Why the others have not, by path."""
    read_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes of good chunks taken from each source."""
    findings: list[Finding] = field(default_factory=list)
    """Sources that served something wrong."""


class _NotWritten(Exception):
    """A piece could not be written; kept apart from what a source may raise."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class _OpenFile:
    """A file whose chunks are under way; closed by whoever handles its last chunk."""

    def __init__(self, gather: Gather) -> None:
        self.gather = gather
        self.partial = gather.open()
        try:
            self.missing = gather.missing(self.partial)
        except BaseException:
            self.partial.close()
            raise
        self.left = len(self.missing)
        self.failure: Failure | None = None


class Transfer:
    """Gathers files from sources, in their order."""

    def __init__(
        self, sources: Sequence[ChunkSource], monitor: Monitor, cancel: Cancel, workers: int = WORKERS
    ) -> None:
        self._sources = tuple(sources)
        self._monitor = monitor
        self._cancel = cancel
        self._workers = workers
        self._lock = threading.Lock()
        self._unreachable: Counter[str] = Counter()
        self._result = Gathered()

    def run(self, gathers: Sequence[Gather]) -> Gathered:
        """Gathers all files; what failed is in the result.

        Raises:
            Stopped: somebody asked to stop; partials stay.
        """
        by_size = sorted(gathers, key=lambda gather: -gather.file.size_bytes)
        for start in range(0, len(by_size), _FILES_AT_ONCE):
            self._run_batch(by_size[start : start + _FILES_AT_ONCE])
        return self._result

    def _run_batch(self, gathers: Sequence[Gather]) -> None:
        opened: list[_OpenFile] = []
        try:
            for gather in gathers:
                self._cancel.check()
                self._open(gather, opened)
            tasks = iter(_interleaved(opened))
            with ThreadPoolExecutor(self._workers, thread_name_prefix="transfer") as pool:
                for future in [pool.submit(self._work, tasks) for _ in range(self._workers)]:
                    future.result()
        finally:
            for file in opened:
                file.partial.close()

    def _open(self, gather: Gather, opened: list[_OpenFile]) -> None:
        try:
            file = _OpenFile(gather)
        except Stopped:
            raise
        except Failure as failure:
            self._result.failed[gather.file.path] = failure
            return
        opened.append(file)
        present = gather.file.size_bytes - sum(gather.file.chunk_length(index) for index in file.missing)
        if present:
            self._monitor.advance(present)
        if not file.missing:
            self._finish(file)

    def _work(self, tasks: Iterator[tuple[_OpenFile, int]]) -> None:
        buffer = memoryview(bytearray(PIECE_BYTES))
        while True:
            with self._lock:
                task = next(tasks, None)
            if task is None:
                return
            file, index = task
            if file.failure is None:
                try:
                    self._chunk(file, index, buffer)
                except Stopped:
                    raise
                except Failure as failure:
                    file.failure = failure
            with self._lock:
                file.left -= 1
                last = file.left == 0
            if last:
                self._finish(file)

    def _finish(self, file: _OpenFile) -> None:
        path = file.gather.file.path
        try:
            if file.failure is not None:
                raise file.failure
            stat = file.gather.finish(file.partial)
        except Failure as failure:
            with self._lock:
                self._result.failed[path] = failure
            if not file.gather.keep_failed:
                file.partial.discard()
        else:
            with self._lock:
                self._result.finished[path] = stat
        finally:
            file.partial.close()

    def _chunk(self, file: _OpenFile, index: int, buffer: memoryview) -> None:
        entry = file.gather.file
        failure: Failure = BlobMissing(entry.path, "no source has it")
        # Twice around: a damaged answer may have been damaged on its way only.
        for source in itertools.chain(self._sources, self._sources):
            if self._unreachable[source.name] >= _GIVE_UP_AFTER:
                continue
            try:
                found = self._pull(source, file, index, buffer)
            except Stopped:
                raise
            except _NotWritten as error:
                # Our own disk: no other source would help.
                raise error.failure from error
            except StoreUnreachable as error:
                self._unreachable[source.name] += 1
                failure = error
            except Failure as error:
                failure = error
            else:
                self._unreachable[source.name] = 0
                if found == entry.chunks[index]:
                    with self._lock:
                        self._result.read_bytes[source.name] += entry.chunk_length(index)
                    return
                failure = self._served_wrong(source, entry, index, found)
        raise failure

    def _pull(self, source: ChunkSource, file: _OpenFile, index: int, buffer: memoryview) -> str:
        hasher = new_chunk_hasher()
        offset = start = index * CHUNK_BYTES
        try:
            for piece in source.read(file.gather.file, offset, file.gather.file.chunk_length(index), buffer):
                self._cancel.check()
                hasher.update(piece)
                try:
                    file.partial.write(offset, piece)
                except Failure as failure:
                    raise _NotWritten(failure) from failure
                offset += len(piece)
                self._monitor.advance(len(piece))
        except (Failure, _NotWritten):
            self._monitor.advance(start - offset)
            raise
        digest = hasher.hexdigest()
        if digest != file.gather.file.chunks[index]:
            self._monitor.advance(start - offset)
        return digest

    def _served_wrong(self, source: ChunkSource, entry: FileEntry, index: int, found: str) -> Failure:
        detail = f"{source.name}: chunk {index + 1} of {len(entry.chunks)} hashes to {found}, not {entry.chunks[index]}"
        finding = Finding(problems.CHUNK_CORRUPT, entry.path, detail, (index,))
        with self._lock:
            if all(known.detail != detail for known in self._result.findings):
                self._result.findings.append(finding)
        return ChunkCorrupt(entry.path, detail)


def _interleaved(files: Sequence[_OpenFile]) -> list[tuple[_OpenFile, int]]:
    """All missing chunks, those of different files side by side in proportion to their sizes."""
    placed = [
        ((position + 0.5) / len(file.missing), number, index)
        for number, file in enumerate(files)
        for position, index in enumerate(file.missing)
    ]
    return [(files[number], index) for _, number, index in sorted(placed)]

"""Files that are to be gathered, and in which order their chunks are fetched."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from zimage_syncd.model.failures import Failure
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import FileStat, Partial

RUN_CHUNKS = 16
"""Chunks that one request asks for at most: each request of boto3 takes 1.4 ms of a processor, most of it under
Python's lock."""

_SHARE = 8
"""A request asks for this part of what a file still lacks, so that the last ones ask for one chunk each, and no worker
has much more to do than others."""


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


class OpenFile:
    """A file whose chunks are under way; finished by whoever handles its last chunk."""

    def __init__(self, gather: Gather) -> None:
        """Opens the partial and finds out what it lacks.

        Raises:
            Failure: as `Gather.open` and `Gather.missing`.
        """
        self.gather = gather
        self.entry = gather.file
        self.partial = gather.open()
        try:
            self.missing = gather.missing(self.partial)
        except BaseException:
            self.partial.close()
            raise
        self.failure: Failure | None = None
        self._left = len(self.missing)
        self._lock = threading.Lock()

    @property
    def present_bytes(self) -> int:
        """Bytes of the chunks that count already."""
        return self.entry.size_bytes - sum(self.entry.chunk_length(index) for index in self.missing)

    def handled(self, chunks: int) -> bool:
        """So many of the missing chunks were handled, well or not; True for whoever handled the last ones."""
        with self._lock:
            self._left -= chunks
            return self._left == 0


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring chunks of a file that one request asks for."""

    file: OpenFile
    """Which file."""
    chunks: range
    """Indexes."""

    @property
    def offset(self) -> int:
        """Where it begins in the file, in bytes."""
        return self.chunks.start * CHUNK_BYTES

    @property
    def length(self) -> int:
        """Its bytes."""
        return sum(self.file.entry.chunk_length(index) for index in self.chunks)


def in_turn(files: Sequence[OpenFile], whole: Sequence[Gather]) -> list[Run | Gather]:
    """The runs of files that are open, and files that are handled whole, side by side.

    Files advance in proportion to their sizes: many writers to one inode wait for its lock, and no large file is left
    alone at the end.
    """
    placed: list[tuple[float, int, Run | Gather]] = []
    for file in files:
        for position, chunks in _runs(file.missing):
            placed.append((position, len(placed), Run(file, chunks)))
    for number, gather in enumerate(whole):
        placed.append(((number + 0.5) / len(whole), len(placed), gather))
    return [item for _, _, item in sorted(placed, key=lambda place: place[:2])]


def first_and_repeated(
    tasks: Sequence[Run | Gather], claimed: set[str]
) -> tuple[list[Run | Gather], list[Run | Gather]]:
    """What has to come from somewhere, and what is the same again: its chunks are here when the first part is done.

    Args:
        tasks: in the order in which they are done.
        claimed: digests of chunks that come earlier; those of `tasks` are added.
    """
    first: list[Run | Gather] = []
    repeated: list[Run | Gather] = []
    for task in tasks:
        if isinstance(task, Gather):
            again = not claimed.isdisjoint(task.file.chunks)
            claimed.update(task.file.chunks)
            (repeated if again else first).append(task)
            continue
        start = task.chunks.start
        for index in task.chunks:
            digest = task.file.entry.chunks[index]
            if digest in claimed:
                if start < index:
                    first.append(Run(task.file, range(start, index)))
                repeated.append(Run(task.file, range(index, index + 1)))
                start = index + 1
            claimed.add(digest)
        if start < task.chunks.stop:
            first.append(Run(task.file, range(start, task.chunks.stop)))
    return first, repeated


def _runs(missing: Sequence[int]) -> Iterator[tuple[float, range]]:
    """Where each run stands in what is missing, from 0 to 1, and its chunks."""
    start = 0
    while start < len(missing):
        most = min(RUN_CHUNKS, max(1, (len(missing) - start) // _SHARE))
        stop = start + 1
        while stop < len(missing) and stop - start < most and missing[stop] == missing[stop - 1] + 1:
            stop += 1
        yield (start + stop) / 2 / len(missing), range(missing[start], missing[stop - 1] + 1)
        start = stop

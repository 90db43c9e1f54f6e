"""Any chunk from any source: workers fetch runs of chunks side by side until every file is whole.

A chunk counts when its digest matches, a file gets its final name when all its chunks count, and one bad file never
stops the others. What lies on this disk already, or arrives now, under another name, is not fetched.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from zimage_syncd.cores import usable_cores
from zimage_syncd.digest import PIECE_BYTES
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.ports import Alone, Cancel, ChunkSource, Clock, Monitor, NoPuller, Puller, Team
from zimage_syncd.work.at_hand import AtHand
from zimage_syncd.work.crew import Crew
from zimage_syncd.work.fetcher import Fetcher
from zimage_syncd.work.gathering import RUN_CHUNKS, Gather, Gathered, OpenFile, Run, first_and_repeated, in_turn
from zimage_syncd.work.pull import NotWritten
from zimage_syncd.work.supply import Supply

_MANY_CORES = 8
"""From here on handing Python's lock over costs more than a core's cache saves: 8 threads with pieces of 2 MiB are
faster than 16, and than pieces of 1 MiB; 4 MiB would be a little faster still, and take as much memory again
(docs/performance.md)."""

_CORES = usable_cores()

FIRST_WORKERS = min(_MANY_CORES, max(4, _CORES))
"""Threads to begin with: 4 saturate a loopback server on 2 cores, 8 one on 16 cores (measured)."""

MOST_WORKERS = 32
"""Threads at most: a distant store gives one connection a fraction of what it has."""

_WHILE_COMING = 4
"""Chunks that a worker fetches itself at a time while its process is being started: the rest of the run is that one's,
or somebody else's."""

_FILES_AT_ONCE = 64
"""How many files of several chunks are open at a time; bounds descriptors, whatever a manifest holds."""


class Transfer:
    """Gathers files from sources, one portion of them after the other.

    Args:
        sources: the nearest first.
        clock: the time.
        monitor: is told of every byte.
        cancel: looked at with every piece.
        at_hand: chunks that this disk has already.
        team: other processes, one for each of the first workers.
        workers: threads to begin with; at least as many as there are processes.
        most: threads at most.
    """

    def __init__(
        self,
        sources: Sequence[ChunkSource],
        clock: Clock,
        monitor: Monitor,
        cancel: Cancel,
        at_hand: AtHand | None = None,
        *,
        team: Team | None = None,
        workers: int = FIRST_WORKERS,
        most: int = MOST_WORKERS,
    ) -> None:
        self._monitor = monitor
        self._cancel = cancel
        self._team = team or Alone()
        workers = max(workers, self._team.size)
        self._most = max(workers, most)
        self._supply = Supply(sources, clock, workers, self._most)
        self._at_hand = at_hand or AtHand()
        self._fetcher = Fetcher(self._supply, self._at_hand, clock, monitor, cancel)
        self._claimed: set[str] = set()
        self._lock = threading.Lock()
        self._result = Gathered()

    def run(self, gathers: Sequence[Gather]) -> Gathered:
        """Gathers some files; what failed is in the result, with what all that were gathered so far took.

        Raises:
            Stopped: somebody asked to stop; partials stay.
        """
        self._result = Gathered()
        self._claimed = set()
        by_size = sorted(gathers, key=lambda gather: -gather.file.size_bytes)
        small = [gather for gather in by_size if len(gather.file.chunks) <= 1]
        large = by_size[: len(by_size) - len(small)]
        batches = [large[start : start + _FILES_AT_ONCE] for start in range(0, len(large), _FILES_AT_ONCE)] or [[]]
        for number, batch in enumerate(batches):
            self._batch(batch, small if number == 0 else [])
        self._result.read_bytes = self._fetcher.read_bytes
        self._result.findings = self._fetcher.findings
        return self._result

    def _batch(self, large: Sequence[Gather], small: Sequence[Gather]) -> None:
        opened: list[OpenFile] = []
        with ThreadPoolExecutor(self._most, thread_name_prefix="transfer") as pool:
            try:
                opening = [pool.submit(self._open, gather, opened) for gather in large]
                wait(opening)  # all of them: what one opens after another was stopped is closed, too
                for future in opening:
                    future.result()
                # What repeats comes when everything else is there: else two workers would fetch it side by side.
                for tasks in first_and_repeated(in_turn(opened, small), self._claimed):
                    self._work(pool, tasks)
            finally:
                for file in opened:
                    file.partial.close()

    def _open(self, gather: Gather, opened: list[OpenFile]) -> None:
        """Opens a file; one that lacks nothing is finished at once."""
        self._cancel.check()
        try:
            file = OpenFile(gather)
        except Stopped:
            raise
        except Failure as failure:
            with self._lock:
                self._result.failed[gather.file.path] = failure
            return
        with self._lock:
            opened.append(file)
        if file.present_bytes:
            self._monitor.advance(file.present_bytes)
            self._at_hand.arrived(file.entry, set(range(len(file.entry.chunks))).difference(file.missing))
        if not file.missing:
            self._finish(file)

    def _work(self, pool: ThreadPoolExecutor, tasks: Sequence[Run | Gather]) -> None:
        left = deque(tasks)
        buffers: dict[int, memoryview] = {}

        def act(worker: int) -> bool:
            source = self._supply.source_for(worker)
            puller = NoPuller.NEVER if source is None else self._team.puller(worker, source)
            with self._lock:
                task = _next_of(left, _WHILE_COMING if puller is NoPuller.COMING else RUN_CHUNKS)
            if task is None:
                return False
            buffer = buffers.get(worker)
            if buffer is None:
                buffer = buffers[worker] = memoryview(bytearray(self._piece_bytes()))
            if isinstance(task, Run):
                self._run(task, source, buffer, None if isinstance(puller, NoPuller) else puller)
            else:
                self._whole(task, source, buffer)
            return True

        Crew(pool, lambda: self._supply.workers, act).work()

    def _piece_bytes(self) -> int:
        """How large the pieces of a worker are."""
        return 2 * PIECE_BYTES if _CORES >= _MANY_CORES and not self._team.size else PIECE_BYTES

    def _whole(self, gather: Gather, source: ChunkSource | None, buffer: memoryview) -> None:
        """A small file, from its opening to its final name."""
        opened: list[OpenFile] = []
        try:
            self._open(gather, opened)
            for file in opened:
                if file.missing:
                    self._run(Run(file, range(len(file.missing))), source, buffer)
        finally:
            for file in opened:
                file.partial.close()

    def _run(self, run: Run, source: ChunkSource | None, buffer: memoryview, puller: Puller | None = None) -> None:
        file = run.file
        if file.failure is None:
            try:
                self._fetcher.fetch(run, source, buffer, puller)
            except Stopped:
                raise
            except NotWritten as error:
                file.failure = error.failure
            except Failure as failure:
                file.failure = failure
        if file.handled(len(run.chunks)):
            self._finish(file)

    def _finish(self, file: OpenFile) -> None:
        path = file.entry.path
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


def _next_of(left: deque[Run | Gather], most_chunks: int) -> Run | Gather | None:
    """Takes the next task; of a run that is longer, the rest stays where it was."""
    if not left:
        return None
    task = left.popleft()
    if not isinstance(task, Run) or len(task.chunks) <= most_chunks:
        return task
    left.appendleft(Run(task.file, task.chunks[most_chunks:]))
    return Run(task.file, task.chunks[:most_chunks])

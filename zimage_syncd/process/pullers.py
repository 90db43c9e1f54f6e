"""Processes that fetch runs of chunks, one for each worker of a transfer, so that Python's lock holds nobody up.

A nursery is started, opens the store and forks the others (`nursery`). By TLS every 16 KiB need the lock, and 16 cores
read 1 GB/s, with 8 processes 3.3 GB/s; without TLS a tenth is won (docs/performance.md). Only reading, hashing and
writing are done there. Plans, retries, other sources, and what counts as right stay with the transfer, which gets the
digest of what was written.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence

from zimage_syncd.cores import usable_cores
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.ports import Alone, ChunkSource, NoPuller, OnBytes, Reopenable, Team
from zimage_syncd.process import nursery_handle
from zimage_syncd.process.nursery_handle import Nursery
from zimage_syncd.process.pull_messages import FAILED, Ask, Told, receive, send

_WORTH_BYTES = 4 * 10**9
"""From so much on the start of the processes, half a second of one core, is worth it."""

_MANY_CORES = 8
"""From so many on."""

_MOST = 8
"""Processes: more were slower on 16 cores. Each takes about 11 MiB of its own."""

_LOOK_EVERY_S = 0.25
"""How long a wish to stop may go unnoticed."""

_SILENT_AT_MOST_S = 60.0
"""How long a process may say nothing: a store that is silent for half of it has failed there by then."""

_FAILURES_AT_MOST = 3
"""In a row, of one worker's runs: then it goes on without. A busy store refuses all of them at once."""

_COMING_AT_MOST_S = 30.0
"""After that nobody waits for a process that has not come."""


class ProcessPullers:
    """Implements `ports.Pullers`.

    Args:
        processes: how many; None: one for each core where there are many, for much.
    """

    def __init__(self, processes: int | None) -> None:
        self._processes = processes

    @contextlib.contextmanager
    def team(self, sources: Sequence[ChunkSource], count_bytes: int) -> Iterator[Team]:
        """Processes for one transfer (see `ports.Pullers`)."""
        nearest = sources[0] if sources else None
        size = self._size(count_bytes) if isinstance(nearest, Reopenable) else 0
        recipe = nearest.recipe() if isinstance(nearest, Reopenable) and size else None
        nursery = None if recipe is None else nursery_handle.start(recipe)
        if not isinstance(nearest, Reopenable) or nursery is None:
            yield Alone()
            return
        team = _ProcessTeam(nearest, nursery, size)
        try:
            yield team
        finally:
            team.close()

    def _size(self, count_bytes: int) -> int:
        if self._processes is not None:
            return self._processes if count_bytes >= CHUNK_BYTES else 0
        cores = usable_cores()
        return min(cores, _MOST) if cores >= _MANY_CORES and count_bytes >= _WORTH_BYTES else 0


class _ProcessTeam:
    """Implements `ports.Team` for one source."""

    def __init__(self, source: Reopenable, nursery: Nursery, size: int) -> None:
        self._source = source
        self._nursery = nursery
        self._size = size
        self._lock = threading.Lock()
        self._hands: dict[int, _Hand] = {}
        self._failures: Counter[int] = Counter()
        self._is_over = False
        self._began_s = time.monotonic()

    @property
    def size(self) -> int:
        """How many processes there are at most."""
        return self._size

    def puller(self, worker: int, source: ChunkSource) -> _Hand | NoPuller:
        """The process of a worker, asked for when it is wanted for the first time."""
        with self._lock:
            if not self._serves(worker, source):
                return NoPuller.NEVER
            hand = self._hands.get(worker) or self._ask_for(worker)
            try:
                if hand is not None and hand.is_here():
                    return hand
            except OSError:
                self._lose(worker)
            is_early = time.monotonic() - self._began_s < _COMING_AT_MOST_S
            return NoPuller.COMING if is_early and self._serves(worker, source) else NoPuller.NEVER

    def _serves(self, worker: int, source: ChunkSource) -> bool:
        if self._is_over or source is not self._source:
            return False
        return worker < self._size and self._failures[worker] < _FAILURES_AT_MOST

    def _ask_for(self, worker: int) -> _Hand | None:
        try:
            connection = self._nursery.ask_for_hand()
        except OSError:
            self._is_over = True
            return None
        if connection is not None:
            self._hands[worker] = _Hand(
                connection, self._source, self._nursery.kill, lambda well: self._count(worker, well=well)
            )
        return self._hands.get(worker)

    def _count(self, worker: int, *, well: bool) -> None:
        """A run has ended: all of it was fetched, or not."""
        with self._lock:
            self._failures[worker] = 0 if well else self._failures[worker] + 1
            if self._hands[worker].is_gone:
                del self._hands[worker]

    def _lose(self, worker: int) -> None:
        self._failures[worker] += 1
        self._hands.pop(worker).close()

    def close(self) -> None:
        """Ends all processes."""
        for hand in self._hands.values():
            hand.close()
        self._nursery.close()


class _Hand:
    """Implements `ports.Puller`: one process."""

    def __init__(
        self,
        connection: socket.socket,
        source: Reopenable,
        kill_all: Callable[[], None],
        on_end: Callable[[bool], None],
    ) -> None:
        self._connection = connection
        self._source = source
        self._kill_all = kill_all
        self._on_end = on_end
        self._process: int | None = None
        self.is_gone = False
        """Whether it is of no use any more."""

    def is_here(self) -> bool:
        """Whether it has said so.

        Raises:
            OSError: it never will.
        """
        if self._process is None:
            try:
                packet, self._process = receive(self._connection, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            if not packet or self._process is None:
                raise ConnectionResetError("the process is gone")
            self._connection.settimeout(_LOOK_EVERY_S)
        return True

    def pull(
        self, entry: FileEntry, chunks: range, file: int, on_piece: OnBytes, check: Callable[[], None]
    ) -> Generator[tuple[int, str], None, None]:
        """Yields each chunk as it has been written, and its digest (see `ports.Puller`)."""
        offset = chunks.start * CHUNK_BYTES
        length = sum(entry.chunk_length(index) for index in chunks)
        ask = Ask(self._source.address_of(entry), offset, length)
        left = iter(chunks)
        is_over = well = False
        heard_s = time.monotonic()
        try:
            send(self._connection, ask.encode(), file)
            while not is_over:
                packet = self._packet()
                check()
                if packet is not None:
                    heard_s = time.monotonic()
                if packet in {b"", FAILED} or time.monotonic() - heard_s > _SILENT_AT_MOST_S:
                    is_over = packet == FAILED
                    return
                told = Told(0) if packet is None else Told.decode(packet)
                on_piece(told.count_bytes)
                if told.digest:
                    index = next(left)
                    is_over = well = index == chunks[-1]
                    yield index, told.digest
        except (OSError, ValueError, StopIteration):
            return  # it was ended, or talks nonsense
        finally:
            if not is_over:
                self.close()
            self._on_end(well)

    def _packet(self) -> bytes | None:
        """What it says; empty where it is gone, None where it says nothing for a while."""
        try:
            return self._connection.recv(1024)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Ends it, and returns when it is gone: from then on it writes nothing."""
        self.is_gone = True
        if self._process is not None:
            try:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except OSError:
                self._kill_all()  # a filter of system calls is in the way
            os.close(self._process)
            self._process = None
            with contextlib.suppress(OSError):
                self._connection.settimeout(None)
                while self._connection.recv(1024):
                    pass  # its end of the connection is closed after all else that it was doing
        self._connection.close()

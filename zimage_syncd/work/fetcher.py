"""Gets chunks right, from wherever they are: this disk, the source that is a worker's own, or any other.

A source that serves a corrupt or late chunk is told of; `Supply` decides for what it is asked last from then on.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections import Counter
from collections.abc import Mapping

from zimage_syncd.model import problems
from zimage_syncd.model.failures import (
    BlobMissing,
    ChunkCorrupt,
    Failure,
    Stopped,
    StoreBroken,
    StoreDenied,
    StoreMissing,
    StoreUnreachable,
)
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import Cancel, ChunkSource, Clock, Monitor, Puller
from zimage_syncd.work.at_hand import AtHand
from zimage_syncd.work.gathering import OpenFile, Run
from zimage_syncd.work.pull import pull
from zimage_syncd.work.supply import Supply


class _Late(StoreUnreachable):
    """A source gives its bytes so slowly that another one shall be asked."""


_OF_THE_STORE = (StoreDenied, StoreMissing, StoreUnreachable)
"""What says nothing about the object that was asked for: any other one would have fared the same."""

_OF_THE_OBJECT = (ChunkCorrupt, StoreBroken, BlobMissing)
"""What says something about one object only; the first one says the most."""

_TELLING = (_Late, StoreBroken, StoreDenied, StoreMissing)
"""What is no passing trouble, and is told."""


class Fetcher:
    """Fetches the chunks of one transfer; safe to use from several threads.

    Args:
        supply: the sources.
        at_hand: chunks that this disk has already.
        clock: the time.
        monitor: is told of every byte.
        cancel: looked at with every piece.
    """

    def __init__(self, supply: Supply, at_hand: AtHand, clock: Clock, monitor: Monitor, cancel: Cancel) -> None:
        self._supply = supply
        self._at_hand = at_hand
        self._clock = clock
        self._monitor = monitor
        self._cancel = cancel
        self._lock = threading.Lock()
        self._at_hand_bytes = 0
        self._told: set[tuple[str, problems.Problem]] = set()
        self.findings: list[Finding] = []
        """What sources served wrong, and why one was left alone."""

    @property
    def read_bytes(self) -> Counter[str]:
        """Bytes of good chunks taken from each source."""
        counted = Counter(self._supply.read_bytes)
        if self._at_hand_bytes:
            counted[self._at_hand.name] = self._at_hand_bytes
        return counted

    def fetch(self, run: Run, source: ChunkSource | None, buffer: memoryview, puller: Puller | None = None) -> None:
        """Fetches a run of chunks: all of it in one request, then what is still lacking from wherever it is.

        Args:
            run: which chunks.
            source: the worker's own; None where it has none.
            buffer: pieces are read into it.
            puller: another process that makes the first request instead of this thread.

        Raises:
            NotWritten: our own disk failed.
            Failure: no source has a chunk right; why the last one has not.
        """
        for index in self._first_try(run, source, buffer, puller):
            self._chunk(run.file, index, buffer)

    def _first_try(self, run: Run, source: ChunkSource | None, buffer: memoryview, puller: Puller | None) -> list[int]:
        """Returns the chunks that are still lacking."""
        lacking = [index for index in run.chunks if not self._from_this_disk(run.file, index, buffer)]
        for helper in dict.fromkeys((puller, None)):  # what the process lacks is asked for in one request here
            if source is None or not lacking or lacking[-1] - lacking[0] >= len(lacking):
                break
            if self._supply.is_last(source, run.file.entry.sha256):
                break
            got, _ = self._pull(source, Run(run.file, range(lacking[0], lacking[-1] + 1)), buffer, puller=helper)
            lacking = [index for index in lacking if index not in got]
        return lacking

    def _from_this_disk(self, file: OpenFile, index: int, buffer: memoryview) -> bool:
        if not self._at_hand.has(file.entry.chunks[index]):
            return False
        got, _ = self._pull(self._at_hand, Run(file, range(index, index + 1)), buffer)
        return index in got

    def _chunk(self, file: OpenFile, index: int, buffer: memoryview) -> None:
        """One chunk from whatever source has it right.

        Raises:
            Failure: none has; why not (see `_why`).
        """
        run = Run(file, range(index, index + 1))
        troubles: dict[str, Failure] = {}
        sources = self._supply.in_order(file.entry.sha256)
        # Twice around: a damaged answer may have been damaged on its way only, and a slow one is better than none.
        for hurried, source in itertools.product((True, False), sources):
            if not self._supply.is_usable(source):
                continue
            got, trouble = self._pull(source, run, buffer, hurried=hurried)
            if got:
                return
            if trouble is not None:
                troubles.pop(source.name, None)
                troubles[source.name] = trouble
        if not troubles:
            raise self._supply.last_failure or BlobMissing(file.entry.path, "no source has it")
        raise _why(file.entry, troubles)

    def _pull(
        self,
        source: ChunkSource,
        run: Run,
        buffer: memoryview,
        *,
        hurried: bool = True,
        puller: Puller | None = None,
    ) -> tuple[set[int], Failure | None]:
        """Chunks of a run that came whole and right, and why another one did not; `hurried`: others may be faster.

        What another process could not fetch has no reason here: whoever asks the source again meets it.
        """
        entry, began_s = run.file.entry, self._clock.monotonic_s()
        got: set[int] = set()
        read_bytes = 0
        trouble: Failure | None = None

        def on_piece(count: int) -> None:
            nonlocal read_bytes
            read_bytes += count
            self._monitor.advance(count)
            if source is self._at_hand:
                return  # what this disk gives says nothing about the speed of sources
            self._supply.took_piece(count)
            if hurried and self._supply.is_late(source, began_s, read_bytes):
                elapsed_s = self._clock.monotonic_s() - began_s
                raise _Late(source.name, f"late: {read_bytes} bytes of {entry.path} in {elapsed_s:.0f} s")

        lent = None if puller is None else run.file.partial.lend()
        if puller is None or lent is None:
            pulled = pull(source, run, buffer, on_piece, self._cancel.check)
        else:
            pulled = puller.pull(entry, run.chunks, lent, on_piece, self._cancel.check)
        try:
            with contextlib.closing(pulled):
                for index, found in pulled:
                    if found == entry.chunks[index]:
                        got.add(index)
                        run.file.partial.start_writeback(index * CHUNK_BYTES, entry.chunk_length(index))
                        self._took(source, entry.chunk_length(index))
                        self._at_hand.arrived(entry, (index,))
                    else:
                        trouble = self._served_wrong(source, entry, index, found)
            if len(got) < len(run.chunks) and trouble is None and lent is None:
                trouble = StoreBroken(entry.path, f"{source.name} gave {read_bytes} of {run.length} bytes")
                self._failed(source, entry, trouble)
        except Stopped:
            raise
        except Failure as failure:
            trouble = _of_its_store(source, failure)
            self._failed(source, entry, trouble)
        finally:
            self._monitor.advance(sum(entry.chunk_length(index) for index in got) - read_bytes)
        return got, trouble

    def _took(self, source: ChunkSource, count_bytes: int) -> None:
        if source is self._at_hand:
            with self._lock:
                self._at_hand_bytes += count_bytes
        else:
            self._supply.took_chunk(source, count_bytes)

    def _failed(self, source: ChunkSource, entry: FileEntry, failure: Failure) -> None:
        if source is self._at_hand:
            return
        telling = self._supply.failed(source, failure)
        if isinstance(failure, StoreBroken):
            self._supply.served_wrong(source, entry.sha256, ends=True)
        elif isinstance(failure, BlobMissing) and len(entry.chunks) > 1:
            self._supply.lacks(source, entry.sha256)
        elif isinstance(failure, _TELLING):
            self._supply.distrust(source)
        if telling or isinstance(failure, _TELLING):
            self._tell(source, failure)

    def _tell(self, source: ChunkSource, failure: Failure) -> None:
        """What a source did, once for each kind of it: a store that fails may fail for every chunk."""
        with self._lock:
            if (source.name, failure.problem) in self._told:
                return
            self._told.add((source.name, failure.problem))
            said = failure.detail if source.name == failure.subject else _told_by(source.name, failure)
            self.findings.append(Finding(failure.problem, failure.subject, said))

    def _served_wrong(self, source: ChunkSource, entry: FileEntry, index: int, found: str) -> Failure:
        detail = f"{source.name}: chunk {index + 1} of {len(entry.chunks)} hashes to {found}, not {entry.chunks[index]}"
        if source is self._at_hand:
            self._at_hand.forget(entry.chunks[index])
            return ChunkCorrupt(entry.path, detail)
        self._supply.served_wrong(source, entry.sha256)
        finding = Finding(problems.CHUNK_CORRUPT, entry.path, detail, (index,))
        with self._lock:
            if all(known.detail != detail for known in self.findings):
                self.findings.append(finding)
        return ChunkCorrupt(entry.path, detail)


def _why(entry: FileEntry, troubles: Mapping[str, Failure]) -> Failure:
    """The failure that stands for those of all sources.

    Args:
        entry: the file.
        troubles: by the source's name, the last one last; at least one.
    """
    failures = list(troubles.values())
    of_stores = [failure for failure in failures if not isinstance(failure, _OF_THE_OBJECT)]
    if of_stores or len(failures) == 1:
        return of_stores[-1] if of_stores else failures[0]
    gravest = min(failures, key=lambda failure: [isinstance(failure, kind) for kind in _OF_THE_OBJECT].index(True))
    said = "; ".join(_told_by(name, failure) for name, failure in troubles.items())
    combined = type(gravest)(entry.path, said)
    combined.__cause__ = gravest
    return combined


def _told_by(name: str, failure: Failure) -> str:
    """What a source's failure says, beginning with its name."""
    return failure.detail if re.match(rf"{re.escape(name)}\b", failure.detail) else f"{name}: {failure.detail}"


def _of_its_store(source: ChunkSource, failure: Failure) -> Failure:
    """The failure; where it is the store's, about the store, so that all that it kept back can be told once."""
    if not isinstance(failure, _OF_THE_STORE) or failure.subject == source.name:
        return failure
    # Errors of connections name the address themselves.
    is_told = failure.subject.rpartition("://")[-1] in failure.detail
    named = type(failure)(source.name, failure.detail if is_told else f"{failure.subject}: {failure.detail}")
    named.__cause__ = failure
    return named

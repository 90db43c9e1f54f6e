"""Which source a worker reads from: the nearest first, a later one beside it while that is measured to add speed.

A source is asked last for a file that it lacks or has not whole, last for everything when it has served three files
wrong or one chunk late, and not at all when it could not be reached three times in a row. All of that is forgotten with
the transfer.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from zimage_syncd.decide.shares import WINDOW_S, Shares, after_window
from zimage_syncd.model.failures import Failure, StoreUnreachable
from zimage_syncd.ports import ChunkSource, Clock, Reserved, Strained

_GIVE_UP_AFTER = 3
"""Failures in a row after which a source that cannot be reached is left alone for this transfer."""

_BAD_AFTER = 3
"""Corrupt chunks of a file after which a source is asked last for it: one or two may have rotted alone."""

_DISTRUST_AFTER = 3
"""Files with corrupt or cut off chunks after which a source is asked last for everything: a blob may rot in a store
that is good and near, and the next source may be a hub at the other end of the world."""

_LATE_AFTER_S = 5.0
"""A read is not called late before that, however slow."""

_LATE_BELOW = 0.1
"""Of what the workers get on average: slower than that is late, where another source could give the chunk."""

_LATE_BELOW_BYTES_PER_S = 10_000
"""Slower than that is late, too: the average says nothing where all that read wait for the same source."""


class Supply:
    """The sources of one transfer; safe to use from several threads."""

    def __init__(self, sources: Sequence[ChunkSource], clock: Clock, workers: int, most: int) -> None:
        """Begins with the nearest source.

        Args:
            sources: the nearest first.
            clock: the time.
            workers: how many to begin with.
            most: how many there may be.
        """
        self._sources = tuple(sources)
        self._clock = clock
        self._most = max(workers, most)
        self._lock = threading.Lock()
        reserved = {
            number for number, source in enumerate(sources) if isinstance(source, Reserved) and source.is_reserved()
        }
        self._shares = Shares.first(max(1, len(sources)), workers, reserved)
        self._failures = [0] * len(self._sources)
        self._wrong: list[Counter[str]] = [Counter() for _ in self._sources]
        """How many chunks of which file each source served wrong, by the file's sha256."""
        self._lacking: list[set[str]] = [set() for _ in self._sources]
        """Large files that each source does not have, by their sha256."""
        self._distrusted: set[int] = set()
        self._began_s = self._window_s = clock.monotonic_s()
        self._bytes = self._window_bytes = 0
        self._setbacks = self._count_setbacks()
        self.read_bytes: Counter[str] = Counter()
        """Bytes of good chunks taken from each source."""
        self.last_failure: Failure | None = None
        """Why a source could not be reached, the last time."""

    @property
    def workers(self) -> int:
        """How many there are to be now."""
        return self._shares.total

    def source_for(self, worker: int) -> ChunkSource | None:
        """What a worker (from 0) reads from next; None where it is one too many, or nothing is left to read from."""
        with self._lock:
            number = self._shares.source_of(worker)
            usable = number is not None and number < len(self._sources) and self._failures[number] < _GIVE_UP_AFTER
            return self._sources[number] if usable and number is not None else None

    def is_usable(self, source: ChunkSource) -> bool:
        """Whether a source may still be asked."""
        with self._lock:
            return self._failures[self._sources.index(source)] < _GIVE_UP_AFTER

    def in_order(self, sha256: str = "") -> list[ChunkSource]:
        """What may still be asked for a file: the nearest first, those that served something wrong last."""
        with self._lock:
            usable = [number for number in range(len(self._sources)) if self._failures[number] < _GIVE_UP_AFTER]
            return [
                self._sources[number] for number in sorted(usable, key=lambda number: self._is_last(number, sha256))
            ]

    def is_last(self, source: ChunkSource, sha256: str) -> bool:
        """Whether a source is asked only after the others for a file."""
        with self._lock:
            return self._is_last(self._sources.index(source), sha256)

    def _is_last(self, number: int, sha256: str) -> bool:
        bad = sha256 in self._lacking[number] or self._wrong[number][sha256] >= _BAD_AFTER
        return bad or number in self._distrusted

    def took_piece(self, count_bytes: int) -> None:
        """Some bytes arrived from a source; 0: it is alive."""
        with self._lock:
            self._bytes += count_bytes
            now_s = self._clock.monotonic_s()
            if now_s - self._window_s >= WINDOW_S:
                self._end_window(now_s)

    def took_chunk(self, source: ChunkSource, count_bytes: int) -> None:
        """A chunk was whole and right."""
        with self._lock:
            self.read_bytes[source.name] += count_bytes
            self._failures[self._sources.index(source)] = 0

    def is_late(self, source: ChunkSource, began_s: float, count_bytes: int) -> bool:
        """Whether a read is so slow that another source should be asked, one that was not found wanting itself.

        Args:
            source: what is read from.
            began_s: when it began, by the clock's monotonic time.
            count_bytes: what it has given since.
        """
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - began_s
        if elapsed_s < _LATE_AFTER_S or not self._has_better(source):
            return False
        share = self._bytes / max(now_s - self._began_s, WINDOW_S) / max(self.workers, 1)
        return count_bytes / elapsed_s < max(share * _LATE_BELOW, _LATE_BELOW_BYTES_PER_S)

    def _has_better(self, source: ChunkSource) -> bool:
        with self._lock:
            others = set(range(len(self._sources))) - self._distrusted - {self._sources.index(source)}
            return any(self._failures[number] < _GIVE_UP_AFTER for number in others)

    def failed(self, source: ChunkSource, failure: Failure) -> bool:
        """A source could not give a chunk; True where that is worth telling.

        It is where the source was not reached and is left alone from here on, or another one has to give the chunk; one
        that is alone and gives it when it is asked again has had a hiccup.
        """
        with self._lock:
            number = self._sources.index(source)
            if isinstance(failure, StoreUnreachable):
                self.last_failure = failure
                self._failures[number] += 1
            self._turn_away()
            gone = self._failures[number] >= _GIVE_UP_AFTER
        return gone or (isinstance(failure, StoreUnreachable) and self._has_better(source))

    def lacks(self, source: ChunkSource, sha256: str) -> None:
        """A source does not have a file: that is no fault of its other ones."""
        with self._lock:
            self._lacking[self._sources.index(source)].add(sha256)

    def served_wrong(self, source: ChunkSource, sha256: str, *, ends: bool = False) -> None:
        """A source served a chunk wrong.

        Args:
            source: which.
            sha256: of the file.
            ends: the file ends there, or cannot be used as a whole.
        """
        with self._lock:
            number = self._sources.index(source)
            self._wrong[number][sha256] += _BAD_AFTER if ends else 1
            if len(self._wrong[number]) >= _DISTRUST_AFTER:
                self._distrusted.add(number)
                self._turn_away()

    def distrust(self, source: ChunkSource) -> None:
        """A source refuses, or serves too late: it is asked last from here on."""
        with self._lock:
            self._distrusted.add(self._sources.index(source))
            self._turn_away()

    def _turn_away(self) -> None:
        """Takes the workers of sources that are not to be read from; unless there is no other."""
        dropped = self._dropped()
        if any(self._shares.workers[number] for number in dropped):
            self._shares = after_window(self._shares, 0.0, self._most, dropped=dropped)

    def _dropped(self) -> set[int]:
        gone = {number for number, count in enumerate(self._failures) if count >= _GIVE_UP_AFTER}
        dropped = gone | self._distrusted
        return dropped if len(dropped) < len(self._sources) else gone

    def _end_window(self, now_s: float) -> None:
        counted = self._count_setbacks()
        setbacks = [now - before for now, before in zip(counted, self._setbacks, strict=True)]
        rate = (self._bytes - self._window_bytes) / (now_s - self._window_s)
        self._shares = after_window(self._shares, rate, self._most, setbacks=setbacks, dropped=self._dropped())
        self._window_s, self._window_bytes, self._setbacks = now_s, self._bytes, counted

    def _count_setbacks(self) -> list[int]:
        return [source.setbacks() if isinstance(source, Strained) else 0 for source in self._sources]

"""Compares what lies on the disk with a manifest, entry by entry; what a restore, a verification and a repair act on.

Reads only. The answer is a list of actions in the manifest's order, one for each entry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.manifest import Entry, Manifest
from zimage_syncd.model.plan import Action, Actions, Refuse
from zimage_syncd.ports import Cancel, Disk, OnBytes, Reader
from zimage_syncd.work.compare import Comparison, Damage
from zimage_syncd.work.look import Depth, Look, ToRead
from zimage_syncd.work.rate import Rate, Unlimited
from zimage_syncd.work.spread import Spread, Task, thread_count

_Answer = TypeVar("_Answer", bound=Action | ToRead)


class Examiner:
    """Looks at entries of a cache, and compares content where that is asked for."""

    def __init__(
        self,
        disk: Disk,
        look: Look,
        cancel: Cancel,
        *,
        on_bytes: OnBytes = lambda _count: None,
        rate: Rate | None = None,
        begin_thread: Callable[[], None] = lambda: None,
    ) -> None:
        """Keeps what it works with.

        Args:
            disk: the cache.
            look: at its entries.
            cancel: looked at between pieces.
            on_bytes: is told of bytes that were read, or need not be after all.
            rate: what a deep examination keeps to; None: as fast as it can.
            begin_thread: called at the start of each thread that examines.
        """
        self._disk = disk
        self._look = look
        self._cancel = cancel
        self._on_bytes = on_bytes
        self._rate = rate or Unlimited()
        self._begin_thread = begin_thread
        self._reading: set[Comparison] = set()
        self._lock = threading.Lock()
        self._settled_entries = 0
        self.read_bytes = 0

    def examine(self, manifest: Manifest, depth: Depth) -> Actions:
        """One action for each entry, in order.

        Raises:
            Stopped: somebody asked to stop.
        """
        actions = Actions(manifest.entries)
        self._settled_entries = 0
        tasks = (partial(self._one, entry, depth, index, actions) for index, entry in enumerate(manifest.entries))
        open_reader = partial(self._disk.reader, past_cache=depth is Depth.DEEP)
        try:
            Spread(open_reader, self._begin_thread, min(thread_count(), len(manifest.entries))).run(tasks)
        finally:
            for comparison in self._reading:
                comparison.close()
            self._reading.clear()
        if self._settled_entries != len(manifest.entries):
            raise RuntimeError("an entry was left out")  # none may count as right that nobody looked at
        return actions

    def _put(self, index: int, action: Action, actions: Actions) -> None:
        with self._lock:
            actions.put(index, action)
            self._settled_entries += 1

    def _one(self, entry: Entry, depth: Depth, index: int, actions: Actions, reader: Reader) -> Sequence[Task]:
        """Answers at once, or gives back the tasks of the comparison that the answer waits for."""
        self._cancel.check()
        answer = _settled(entry, lambda: self._look.at(entry, depth))
        if not isinstance(answer, ToRead):
            self._put(index, answer, actions)
            return ()
        return self._compare(answer, depth, index, actions).start(reader)

    def _compare(self, asked: ToRead, depth: Depth, index: int, actions: Actions) -> Comparison:
        rate = self._rate if depth is Depth.DEEP else Unlimited()

        def on_read(count: int) -> None:
            self._cancel.check()
            rate.take(count)
            with self._lock:
                self.read_bytes += count
            self._on_bytes(count)

        def finish(damage: Damage) -> None:
            self._reading.discard(comparison)
            self._put(index, _settled(asked.entry, lambda: asked.conclude(damage)), actions)

        comparison = Comparison(asked.entry, asked.descriptor, on_read, self._on_bytes, finish)
        self._reading.add(comparison)
        return comparison


def _settled(entry: Entry, act: Callable[[], _Answer]) -> _Answer | Refuse:
    """What `act` gives; trouble with one entry is that entry's and not the run's."""
    try:
        return act()
    except Stopped:
        raise
    except Failure as failure:
        return Refuse(entry, failure.detail or failure.subject, failure.problem)
    except OSError as error:
        return Refuse(entry, f"cannot be looked at: {error.strerror or error}", problems.DISK_ERROR)

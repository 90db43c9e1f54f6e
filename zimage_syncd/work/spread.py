"""Spreads tasks over threads: what a task gives back is done first, so no large file is left for one thread alone."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from zimage_syncd.cores import usable_cores
from zimage_syncd.ports import Reader

Task = Callable[[Reader], Sequence["Task"]]
"""Does something with its thread's reader, and gives back what there is to do now."""

_MOST_THREADS = 16
"""Measured on 16 cores: 16 threads read and hash 10.7 GB/s from memory, more than disks give; and each takes 2 MiB."""


def thread_count() -> int:
    """Two for each core that we may use: one waits for the disk while another one hashes."""
    return min(_MOST_THREADS, 2 * usable_cores())


class Spread:
    """Runs tasks in threads of its own."""

    def __init__(self, open_reader: Callable[[], Reader], begin_thread: Callable[[], None], threads: int) -> None:
        """Keeps what each thread begins with.

        Args:
            open_reader: makes a thread's reader, when it has its first task.
            begin_thread: called at the start of each thread.
            threads: how many, at least 1.
        """
        self._open_reader = open_reader
        self._begin_thread = begin_thread
        self._threads = threads

    def run(self, tasks: Iterable[Task]) -> None:
        """Does all tasks and what comes of them; the first error ends everything and is raised."""
        queue = _Queue(tasks)
        threads = [
            threading.Thread(target=self._work, args=(queue,), name=f"spread-{number}", daemon=True)
            for number in range(self._threads)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:
            queue.fail(error)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise
        if queue.error is not None:
            raise queue.error

    def _work(self, queue: _Queue) -> None:
        try:
            self._begin_thread()
            reader = self._open_reader()
            while (task := queue.next()) is not None:
                queue.done(task(reader))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that called `run`
            queue.fail(error)


class _Queue:
    """What is to do: follow-up tasks first, then the next of the iterable."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = iter(tasks)
        self._ready: deque[Task] = deque()
        self._busy = 0
        self._changed = threading.Condition()
        self.error: BaseException | None = None

    def next(self) -> Task | None:
        """Something to do, waited for while others may still give some; None at the end."""
        with self._changed:
            while self.error is None:
                task = self._ready.popleft() if self._ready else next(self._tasks, None)
                if task is not None:
                    self._busy += 1
                    return task
                if self._busy == 0:
                    return None
                self._changed.wait()
            return None

    def done(self, more: Sequence[Task]) -> None:
        """A task has ended."""
        with self._changed:
            self._busy -= 1
            self._ready.extend(more)
            if more or self._busy == 0:
                self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Ends everything; the first error is kept."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

"""The daemon's queue: one job at a time, equal jobs merge, a failing job never ends the runner."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

from zimage_syncd.logs import Logger
from zimage_syncd.model.failures import CacheBusy, DataDiskTaken, Failure, Stopped, told

_LOOK_EVERY_S = 1.0
"""How late a stop may be noticed that came between looking for one and waiting."""


class Runner:
    """Runs named jobs in the thread that calls `run`; any thread may submit."""

    def __init__(
        self, jobs: Mapping[str, Callable[[], None]], log: Logger, after: Callable[[], None] = lambda: None
    ) -> None:
        """Prepares; nothing runs yet.

        Args:
            jobs: by name.
            log: where it tells what it does.
            after: called after each job.
        """
        self._jobs = jobs
        self._after = after
        self._log = log
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._stopped = False

    def submit(self, name: str) -> None:
        """Asks for a job; one that waits already is not queued twice."""
        with self._changed:
            if name not in self._waiting:
                self._waiting.append(name)
                self._changed.notify()

    def stop(self) -> None:
        """Ends `run` after the job under way; safe to call from a signal's handler, whatever it interrupts."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def run(self) -> None:
        """Works until `stop`."""
        while (name := self._next()) is not None:
            self._one(name)
            self._after()

    def _next(self) -> str | None:
        with self._changed:
            while not self._waiting and not self._stopped:
                # A signal's handler runs in this very thread: one that comes after the look above and before this waits
                # passes the lock, which is its own, and wakes nobody. Without a limit that stop would be lost.
                self._changed.wait(_LOOK_EVERY_S)
            return None if self._stopped else self._waiting.popleft()

    def _one(self, name: str) -> None:
        self._log.info("job started", job=name)
        try:
            told(self._jobs[name])
        except (CacheBusy, DataDiskTaken) as failure:
            self._log.warning("job put off", job=name, code=failure.problem.code, reason=str(failure))
        except Stopped:
            self._log.info("job stopped on request", job=name)
        except Failure as failure:
            self._log.error(
                "job failed", job=name, code=failure.problem.code, reason=str(failure), remedy=failure.problem.remedy
            )
        except Exception:  # noqa: BLE001 - the runner outlives every job; the log has the traceback
            self._log.exception("job ended by an error that was not foreseen", job=name)
        else:
            self._log.info("job finished", job=name)

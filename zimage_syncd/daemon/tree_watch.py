"""Watches the names in the cache: files that come, go and get their final names. Content is nobody's business here.

inotify sees what this machine does; what another one does on a network file system it does not. There, and where
inotify has no room left, the directories' own stat is looked at, too, each time that the watch is asked.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from zimage_syncd.daemon.tree_times import TreeTimes
from zimage_syncd.daemon.watch import NAME_EVENTS, identity_of
from zimage_syncd.logs import Logger

# A directory that comes while its parent is looked through is added twice; the second time replaces the first, and
# watchdog says so on standard error (seen with 7.1.0).
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"watchdog\.observers\.inotify")


class TreeWatch:
    """One directory and all below, whenever it is there.

    Args:
        directory: absolute.
        besides: a directory below whose changes do not count.
        on_change: called for every change, from a thread of this watch; returns at once.
        log: for what cannot be watched.
        is_shared: whether other hosts may change the directory.
    """

    def __init__(
        self,
        directory: str,
        besides: str,
        on_change: Callable[[], None],
        log: Logger,
        is_shared: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_shared = is_shared
        self._times = TreeTimes(directory, besides)
        self._directory = directory
        self._besides = besides + "/"
        self._on_change = on_change
        self._log = log
        self._lock = threading.Lock()
        self._observer: BaseObserver | None = None
        self._watched: tuple[int, int] | None = None
        self._refused = False

    def ensure(self) -> None:
        """Watches the directory if it is there, anew if it is another one than before (mounted, replaced).

        What happened before is a change, too.
        """
        with self._lock:
            place = identity_of(self._directory)
            same = place == self._watched and (self._observer is None or self._observer.is_alive())
            if not same:
                self._end()
                self._watched = place
                if place is not None:
                    self._begin()
            is_blind = place is not None and (self._observer is None or self._is_shared())
            changed = is_blind and self._times.has_changed()
        if changed or not same:
            self._on_change()

    def stop(self) -> None:
        """Ends all threads."""
        with self._lock:
            self._end()
            self._watched = None

    def _begin(self) -> None:
        observer = Observer()
        try:
            observer.schedule(_Handler(self._seen), self._directory, recursive=True, event_filter=NAME_EVENTS)
            observer.start()
        except OSError as error:
            # ENOSPC: fs.inotify.max_user_watches is smaller than the number of directories.
            if not self._refused:
                self._refused = True
                reason = f"{error.strerror}; it is looked at every few seconds instead"
                self._log.warning("the cache cannot be watched", path=self._directory, reason=reason)
            return
        self._observer = observer

    def _end(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _seen(self, event: FileSystemEvent) -> None:
        if not os.fsdecode(event.src_path).startswith(self._besides):
            self._on_change()


class _Handler(FileSystemEventHandler):
    def __init__(self, seen: Callable[[FileSystemEvent], None]) -> None:
        self._tell = seen

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._tell(event)

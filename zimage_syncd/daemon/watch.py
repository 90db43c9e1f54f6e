"""Watches what must not wait for the clock: the cache links' directories, and the mount table.

An event tells nothing but that somebody should look again: what is lost, doubled or out of order does no harm. Looks
that come quickly after each other merge.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading
from collections.abc import Callable, Iterable, Iterator

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

from zimage_syncd.logs import Logger

_MERGE_S = 0.05
"""What happens within this time is looked at once."""

_LOOK_EVERY_S = 20.0
"""How often is looked without an event: inotify is blind on network file systems, and its queue may overflow."""

NAME_EVENTS: list[type[FileSystemEvent]] = [
    *(FileCreatedEvent, FileDeletedEvent, FileMovedEvent),
    *(DirCreatedEvent, DirDeletedEvent, DirMovedEvent),
]
"""What can happen to a name; what happens to content is nobody's business here."""

_MOUNTS = "/proc/self/mountinfo"


class Watch:
    """Threads that ask for looks, between `start` and `stop`.

    Args:
        links: cache.links, absolute.
        on_links: looks at the links, and makes those that are lost; called in a thread of this watch.
        on_mounts: the mount table has changed; returns at once.
        log: for what cannot be watched.
    """

    def __init__(
        self, links: Iterable[str], on_links: Callable[[], None], on_mounts: Callable[[], None], log: Logger
    ) -> None:
        self._links = tuple(links)
        self._on_links = on_links
        self._on_mounts = on_mounts
        self._log = log
        self._directories = frozenset(directory for link in self._links for directory in _above(link))
        self._names = self._directories | set(self._links)
        self._observer = Observer()
        self._watched: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._refused: set[str] = set()
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._wake, self._waker = os.pipe()
        self._threads = [
            threading.Thread(target=self._look, name="watch-links", daemon=True),
            threading.Thread(target=self._wait_for_mounts, name="watch-mounts", daemon=True),
        ]

    def start(self) -> None:
        """Begins to watch; the links are looked at once."""
        self._observer.start()
        self._wanted.set()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends all threads."""
        self._ended.set()
        self._wanted.set()
        os.write(self._waker, b"x")
        # First who may be about to watch one more directory: an observer that was stopped would begin a thread for it.
        for thread in self._threads:
            thread.join()
        self._observer.stop()
        self._observer.join()
        os.close(self._wake)
        os.close(self._waker)

    def _look(self) -> None:
        while True:
            self._wanted.wait(_LOOK_EVERY_S)
            if self._ended.wait(_MERGE_S):
                return
            self._wanted.clear()
            try:
                # Watched before it is looked: what happens between the two is an event. And after: a look makes
                # directories that are missing.
                self._watch_directories()
                self._on_links()
                self._watch_directories()
            except Exception:  # noqa: BLE001 - a look that fails is repeated; the log has the traceback
                self._log.exception("the cache links could not be looked at")

    def _watch_directories(self) -> None:
        """Watches all directories above the links that are there, since any may be removed or renamed.

        A directory that was replaced under its name is watched anew.
        """
        alive = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
        for directory in self._directories:
            place = identity_of(directory)
            watch, watched = self._watched.get(directory, (None, None))
            if watch is not None and (place != watched or watch not in alive):
                del self._watched[directory]
                with contextlib.suppress(KeyError, OSError):
                    self._observer.unschedule(watch)
            if place is not None and directory not in self._watched:
                self._watch_one(directory, place)

    def _watch_one(self, directory: str, place: tuple[int, int]) -> None:
        handler = _Handler(self._seen)
        try:
            watch = self._observer.schedule(handler, directory, recursive=False, event_filter=NAME_EVENTS)
            self._watched[directory] = (watch, place)
        except FileNotFoundError:
            pass  # removed since
        except OSError as error:
            # ENOSPC: no more inotify watches (fs.inotify.max_user_watches); the clock looks instead.
            if directory not in self._refused:
                self._refused.add(directory)
                self._log.warning("a directory cannot be watched", path=directory, reason=str(error.strerror))

    def _seen(self, event: FileSystemEvent) -> None:
        if {os.fsdecode(event.src_path), os.fsdecode(event.dest_path or "")} & self._names:
            self._wanted.set()

    def _wait_for_mounts(self) -> None:
        """The kernel signals a change of the mount table as an exceptional condition (proc_pid_mountinfo(5))."""
        with open(_MOUNTS, "rb", buffering=0) as mounts:
            poll = select.poll()
            poll.register(mounts, select.POLLPRI | select.POLLERR)
            poll.register(self._wake, select.POLLIN)
            while not self._ended.is_set():
                poll.poll()
                if not self._ended.is_set():
                    self._on_mounts()
                    self._wanted.set()


class _Handler(FileSystemEventHandler):
    def __init__(self, seen: Callable[[FileSystemEvent], None]) -> None:
        self._tell = seen

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._tell(event)


def _above(path: str) -> Iterator[str]:
    """All directories above a path, the root included."""
    while path != "/":
        path = os.path.dirname(path)
        yield path


def identity_of(directory: str) -> tuple[int, int] | None:
    """By which a directory is known again; None where there is none."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None

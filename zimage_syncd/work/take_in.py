"""Takes a real directory, which lies where a cache link belongs, into the cache; nothing of it is lost.

What the cache lacks is brought there and read back beside what it comes from; then the link takes the directory's place
in one step; only then is removed what the cache was seen to hold. What it holds with another content is kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from zimage_syncd.model import problems
from zimage_syncd.model.failures import DeviceFull, Failure, Stopped, TakeInBusy
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.private import is_left_over
from zimage_syncd.model.report import Finding
from zimage_syncd.ports import Absent, OldDirectory, OldEntry, Other, Reader, SeenFile, SeenLink
from zimage_syncd.work.bring import Bringer, size_of
from zimage_syncd.work.site import Site
from zimage_syncd.work.space import check_space, with_spare
from zimage_syncd.work.spread import Spread, Task, thread_count

_ROUNDS = 5
"""How often is looked for what is new, before somebody is taken to be at work there."""
_NAMED = 5
"""How many of the entries that were kept a finding names."""


@dataclass(slots=True)
class TakenIn:
    """What was done with one directory."""

    files: int = 0
    """Files that the cache lacked, and holds now."""
    written_bytes: int = 0
    """Their bytes, as far as they were copied."""
    equal_files: int = 0
    """Files that the cache held already."""
    is_linked: bool = False
    """Whether the link is in its place."""
    findings: list[Finding] = field(default_factory=list)
    """What was kept, and why."""


class TakeIn:
    """One directory's way into the cache; a killed run is gone on with by the next one."""

    def __init__(self, site: Site, old: OldDirectory, is_written: Callable[[str], bool]) -> None:
        """Keeps what it works with.

        Args:
            site: the cache.
            old: the directory.
            is_written: whether some process has a file below a directory open for writing.
        """
        self._site = site
        self._disk = site.disk
        self._old = old
        self._bringer = Bringer(site, old)
        self._is_written = is_written
        self._marks: dict[RelPath, tuple[object, ...]] = {}
        self._held: set[RelPath] = set()
        self._refused: dict[RelPath, str] = {}
        self._lock = threading.Lock()
        self._done = TakenIn()

    def run(self) -> TakenIn:
        """Does it; what could not be taken in is in the result.

        Raises:
            TakeInBusy: somebody writes there; nothing was removed.
            NoSpace: the disk cannot take it; nothing was written.
            LinkOccupied: a file system is mounted there.
            Stopped: somebody asked to stop, or another host has taken the disk over; the next run goes on.
            DeviceFull, PathUnwritable, DataDiskReadOnly, DiskError: as their names say.
        """
        if not self._old.is_aside:
            self._settle()
            self._site.lease.confirm()
            if not self._old.exchange():
                return self._in_place()
        self._done.is_linked = self._old.link_again()
        self._bring_new()  # what somebody wrote to a file that he had open, or a killed run left
        if self._is_written(self._old.root):
            detail = f"some process still has a file of {self._old.root} open; it stays until the next run"
            self._done.findings.append(Finding(problems.TAKE_IN_BUSY, self._old.place, detail))
            return self._done
        self._remove()
        if not self._old.remove_directories():
            self._tell_kept(self._old.keep_rest())
        return self._done

    def _settle(self) -> None:
        for _ in range(_ROUNDS):
            if self._is_written(self._old.root):
                raise TakeInBusy(self._old.place, "some process has a file there open for writing")
            if not self._bring_new():
                return
        raise TakeInBusy(self._old.place, "files there change all the time")

    def _in_place(self) -> TakenIn:
        """What cannot be renamed is emptied where it lies; where something has to be kept, all of it stays."""
        if self._refused:
            self._tell_kept(self._old.place)
            return self._done
        self._remove()
        if self._old.remove_directories():
            self._old.make_link()
            self._done.is_linked = True
        else:
            self._tell_kept(self._old.place)
        return self._done

    def _bring_new(self) -> bool:
        """Brings what is new since the last time, payload first and references last; whether anything was."""
        fresh = [entry for entry in self._old.walk() if not entry.is_as(self._marks.get(entry.path))]
        wanted = [entry for entry in fresh if not is_left_over(entry.wanted)]
        files = [entry for entry in wanted if isinstance(entry.seen, SeenFile)]
        lacking = [entry for entry in files if isinstance(self._disk.look(entry.wanted), Absent)]
        total = sum(size_of(entry) for entry in files)
        copied_bytes = 0 if self._bringer.is_near() else sum(size_of(entry) for entry in lacking)
        check_space(self._site, with_spare(copied_bytes))
        self._site.monitor.begin(f"take {self._old.place} in", total)
        for entry in fresh:
            self._marks[entry.path] = entry.mark
        self._each(entry for entry in files if not _is_reference(entry))
        for entry in wanted:
            if not isinstance(entry.seen, SeenFile):
                self._guarded(entry, partial(self._link, entry))
        self._each(entry for entry in files if _is_reference(entry))
        self._site.monitor.finish()
        return bool(fresh)

    def _each(self, files: Iterable[OldEntry]) -> None:
        def task(entry: OldEntry, reader: Reader) -> Sequence[Task]:
            self._site.cancel.check()
            self._guarded(entry, partial(self._file, entry, reader))
            return ()

        tasks = [partial(task, entry) for entry in files]
        if tasks:
            open_reader = partial(self._disk.reader, past_cache=True)
            Spread(open_reader, self._site.begin_thread, min(thread_count(), len(tasks))).run(tasks)

    def _guarded(self, entry: OldEntry, act: Callable[[], None]) -> None:
        """Trouble with one entry keeps that one; a disk that is full ends everything."""
        try:
            act()
        except (Stopped, DeviceFull):
            raise
        except Failure as failure:
            self._refuse(entry, f"{failure.problem.title}: {failure.detail}" if failure.detail else str(failure))

    def _refuse(self, entry: OldEntry, reason: str) -> None:
        with self._lock:
            self._held.discard(entry.path)
            self._refused[entry.path] = reason

    def _hold(self, entry: OldEntry) -> None:
        """The cache holds it, unless it has changed since it was seen: then the next look finds it new."""
        now = self._old.look(entry)
        with self._lock:
            self._refused.pop(entry.path, None)
            self._held.add(entry.path)
            if _links(now) > _links(entry):  # made just now; its inode is the cache's own
                self._marks[entry.path] = now.mark

    def _link(self, entry: OldEntry) -> None:
        if not isinstance(entry.seen, SeenLink):
            self._refuse(entry, f"it is {entry.seen.what if isinstance(entry.seen, Other) else 'gone'}")
            return
        target = entry.seen.target
        there = self._disk.look(entry.wanted)
        if isinstance(there, Absent):
            if target.startswith("/"):
                self._disk.place(entry.wanted, target, LinkMode.SYMLINK)
            else:
                self._disk.make_link(entry.wanted, target)
        elif there != entry.seen and not self._leads_there(entry):
            self._refuse(entry, "the cache has something else there")
            return
        self._hold(entry)

    def _leads_there(self, entry: OldEntry) -> bool:
        """Whether a link is a way to its own place in the cache: a part of the directory was taken in before."""
        wanted = os.path.realpath(f"{self._disk.root}/{entry.wanted}")
        return os.path.realpath(self._old.absolute(entry.path)) == wanted

    def _file(self, entry: OldEntry, reader: Reader) -> None:
        there = self._disk.look(entry.wanted)
        if isinstance(there, Absent):
            written_bytes = self._bringer.bring(entry, reader)
            with self._lock:
                self._done.files += 1
                self._done.written_bytes += written_bytes
        elif isinstance(there, SeenFile) and self._bringer.is_equal(entry, entry.wanted, reader):
            with self._lock:
                self._done.equal_files += 1
        else:
            self._refuse(entry, "the cache has another content there")
            return
        self._site.monitor.advance(size_of(entry))
        self._hold(entry)

    def _remove(self) -> None:
        """Removes what the cache holds, and what was of use only to a library that was at work."""
        self._site.lease.confirm()
        # Of a run that was killed; a restore may still go on with what it copied.
        self._disk.sweep_partials((entry.wanted for entry in self._old.walk()), (), only_links=True)
        for entry in self._old.walk():
            is_same = entry.is_as(self._marks.get(entry.path))
            if is_same and (entry.path in self._held or is_left_over(entry.wanted)):
                self._old.remove(entry)

    def _tell_kept(self, where: str) -> None:
        named = [f"{path}: {reason}" for path, reason in sorted(self._refused.items())[:_NAMED]]
        more = len(self._refused) - len(named)
        detail = "; ".join(named) or "something was written there at the last moment"
        detail += f" (and {more:,} more)" if more > 0 else ""
        self._done.findings.append(Finding(problems.TAKE_IN_KEPT, where, detail))


def _links(entry: OldEntry) -> int:
    return entry.seen.stat.links if isinstance(entry.seen, SeenFile) else 0


def _is_reference(entry: OldEntry) -> bool:
    """A library takes a reference for a hit, so it comes when everything else is there."""
    return "/refs/" in entry.wanted

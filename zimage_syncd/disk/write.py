"""The only place that writes payload, links and pointers into caches.

Nothing under a final name is ever partial, nothing is followed out of the cache, and what somebody else wrote is kept
in quarantine before it is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterable

from zimage_syncd.disk import shared_blobs
from zimage_syncd.disk.arrived import look_at_chunks
from zimage_syncd.disk.errors import translated
from zimage_syncd.disk.partial import PartialFile, partial_name
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.read import CachedReader, DiskReader
from zimage_syncd.disk.reflink import can_share
from zimage_syncd.disk.tree import Ownership, Tree, is_regular
from zimage_syncd.model.failures import LinkModeUnsupported, UnsafePath
from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.private import PARTIAL_PREFIX, PARTIAL_SUFFIX
from zimage_syncd.ports import Absent, FileStat, Lease, Other, Partial, Seen, SeenFile, SeenLink, Unshared, file_stat

_CONFIRMED_WITHIN_S = 2.0
"""Before something gets its final name, the lease is looked at; of 100,000 files not before each."""


class CacheDisk:
    """A cache directory that may be written to.

    Args:
        root: its absolute path.
        quarantine: keeps what is replaced.
        ownership: whose it is what is made; None: the process's.
        lease: what keeps other hosts away; asked before something gets its final name, which raises DataDiskTaken.
    """

    def __init__(
        self, root: str, quarantine: Quarantine, ownership: Ownership | None = None, lease: Lease | None = None
    ) -> None:
        self._tree = Tree(root, ownership)
        self._quarantine = quarantine
        self._lease = lease or Unshared()

    @property
    def root(self) -> str:
        """The absolute path of the cache directory."""
        return self._tree.root

    def make_root(self) -> None:
        """Makes the cache directory with its parents, where it is missing."""
        with translated(self.root, writing=True):
            if not os.path.isdir(self.root):
                os.makedirs(self.root, exist_ok=True)
                self._tree.own(self.root)

    def free_bytes(self) -> int:
        """What an ordinary user can still write to the disk that the cache is on, or will be."""
        place = self.root
        while not os.path.exists(place):
            place = os.path.dirname(place)
        with translated(place):
            numbers = os.statvfs(place)
        return numbers.f_bavail * numbers.f_frsize

    def look(self, path: RelPath) -> Seen:
        """What lies at `path` itself.

        Raises:
            UnsafePath: a directory on the way is a symlink.
            PathUnreadable, DiskError: as their names say.
        """
        found = self._tree.lstat_and_target(path)
        if found is None:
            return Absent()
        status, target = found
        if is_regular(status):
            return SeenFile(file_stat(status))
        if target is not None:
            return SeenLink(target)
        return Other("a directory" if os.path.isdir(self._tree.absolute(path)) else "a special file")

    def open_read(self, path: RelPath) -> int:
        """A descriptor of a regular file, for reading.

        Raises:
            FileNotFoundError: nothing is there.
            PathUnreadable, UnsafePath, DiskError: as their names say.
        """
        return self._tree.open_read(path)

    def reader(self, *, past_cache: bool) -> CachedReader:
        """A reader for one thread.

        Args:
            past_cache: read what the disk holds, and leave the page cache as it is.
        """
        return DiskReader() if past_cache else CachedReader()

    def begin_file(self, path: RelPath, size_bytes: int, like: int | None = None) -> PartialFile:
        """Opens the partial of `path`, made and preallocated where it is not there.

        Args:
            path: where the file will be.
            size_bytes: what it will have.
            like: an open file whose extents a new partial shares instead, where the file system can.
        """
        return PartialFile(self._tree, path, size_bytes, like, self._lease.fence)

    def can_reflink(self, source: str) -> bool:
        """Whether files here can share extents with a file of a store; tried, not guessed."""
        return can_share(self._tree, source)

    def partial_path(self, path: RelPath) -> RelPath:
        """Where the partial of `path` lies, for `open_read`."""
        return RelPath("/".join((*path.parts[:-1], partial_name(path, self._lease.fence))))

    def partial_bytes(self, path: RelPath) -> int:
        """Bytes that the partial of `path` occupies on the disk already; 0 where there is none."""
        status = self._tree.lstat(self.partial_path(path))
        return 0 if status is None or not is_regular(status) else status.st_blocks * 512

    def missing_chunks(self, file: FileEntry, check: Callable[[], None]) -> list[int]:
        """Indexes of the chunks that a source has to give: all that the file's partial does not hold.

        Changes nothing, unlike the partial's own `missing_chunks`: another process may be at work on it.

        Args:
            file: what the content shall be.
            check: called before each chunk that is hashed; may raise to stop.

        Raises:
            PathUnreadable, UnsafePath, DiskError: as their names say.
        """
        place = self.partial_path(file.path)
        try:
            descriptor = self._tree.open_read(place)
        except FileNotFoundError:
            return list(range(len(file.chunks)))
        try:
            return look_at_chunks(descriptor, self._tree.absolute(place), file, check).missing
        finally:
            os.close(descriptor)

    def finish_file(self, partial: Partial, mode: int, *, keep_old: bool) -> FileStat:
        """Gives a partial of which every chunk counts its final name.

        Args:
            partial: what was gathered.
            mode: permission bits.
            keep_old: whether the content that it replaces goes to quarantine first; what is no file goes there anyway.
        """
        if not isinstance(partial, PartialFile):
            raise TypeError("finish_file takes what begin_file gave")
        self._confirm()
        path = partial.path
        if keep_old or isinstance(self.look(path), Other):
            self._quarantine.keep(self._tree, path)
        if shared_blobs.shared_payload(path) is None:
            partial.finish(mode)
        else:
            with shared_blobs.payload_lock(self._tree, path):
                shared_blobs.make_marker(self._tree, path)
                partial.finish(mode)
        status = self._tree.lstat(path)
        if status is None:
            raise UnsafePath(self._tree.absolute(path), "the file vanished right after it was written")
        return file_stat(status)

    def set_mode(self, path: RelPath, mode: int) -> FileStat:
        """Corrects a file's permissions, also where they do not let it be read; returns its new stat."""
        self._confirm()
        where = self._tree.absolute(path)
        with self._tree.parent(path) as directory, translated(where, writing=True):
            descriptor = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                if not is_regular(os.fstat(descriptor)):
                    raise UnsafePath(where, "expected a file")
                # fchmod does not take a descriptor that only names a file (open(2): O_PATH).
                os.chmod(f"/proc/self/fd/{descriptor}", mode)
                return file_stat(os.fstat(descriptor))
            finally:
                os.close(descriptor)

    def make_link(self, path: RelPath, target: str) -> None:
        """Makes or replaces a relative symlink in one step; what else lies there goes to quarantine.

        Raises:
            UnsafePath: the target leaves the cache.
        """
        self._confirm()
        payload = shared_blobs.shared_target(path, target)
        if payload is None:
            self._replace_by_link(path, target)
            return
        with shared_blobs.payload_lock(self._tree, payload):
            shared_blobs.make_marker(self._tree, payload)
            shared_blobs.append_reference(self._tree, payload, path)
            self._replace_by_link(path, target)

    def _replace_by_link(self, path: RelPath, target: str) -> None:
        if isinstance(self.look(path), SeenFile | Other):
            self._quarantine.keep(self._tree, path)
        temporary = f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
        where = self._tree.absolute(path)
        with self._tree.parent(path, create=True) as directory, translated(where, writing=True):
            os.symlink(target, temporary, dir_fd=directory)
            try:
                self._tree.own(temporary, directory)
                os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                os.unlink(temporary, dir_fd=directory)
                raise
            os.fsync(directory)

    def make_pointer(self, path: RelPath, text: str, mode: int, *, replace: bool = False) -> bool:
        """Writes a pointer where there is none; False where one is there, which is not touched.

        Args:
            path: where.
            text: its content.
            mode: permission bits.
            replace: what lies there is damaged: it goes to quarantine, and the pointer takes its place.
        """
        self._confirm()
        if self._tree.lstat(path) is not None:
            if not replace:
                return False
            self._quarantine.keep(self._tree, path)
        data = text.encode()
        partial = PartialFile(self._tree, path, len(data), fence=self._lease.fence)
        try:
            partial.write(0, memoryview(data))
            partial.finish(mode)
        finally:
            partial.close()
        return True

    def place(self, path: RelPath, source: str, mode: LinkMode) -> None:
        """Lets a file of a mounted store appear at `path` without reading it.

        Args:
            path: where.
            source: absolute path of the store's file.
            mode: SYMLINK or HARDLINK.

        Raises:
            LinkModeUnsupported: hard links between these two places are not possible.
        """
        self._confirm()
        if mode is LinkMode.SYMLINK:
            self._replace_by_link(path, source)
            return
        if isinstance(self.look(path), Other):
            self._quarantine.keep(self._tree, path)
        temporary = f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
        where = self._tree.absolute(path)
        with self._tree.parent(path, create=True) as directory:
            try:
                os.link(source, temporary, dst_dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                if error.errno in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
                    raise LinkModeUnsupported(where, f"hardlink to {source}: {os.strerror(error.errno)}") from error
                with translated(where, writing=True):
                    raise
            with translated(where, writing=True):
                os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
                # rename does nothing when both names are one file already
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                os.fsync(directory)

    def _confirm(self) -> None:
        self._lease.confirm(_CONFIRMED_WITHIN_S)

    def sweep_partials(self, beside: Iterable[RelPath], keep: Iterable[RelPath], *, only_links: bool = False) -> int:
        """Removes partials that nobody goes on with.

        Args:
            beside: payload paths whose directories are looked at.
            keep: payload paths whose partials stay, since a later run goes on with them.
            only_links: nothing but links that a killed process did not give their name; what was copied stays.

        Returns:
            How many were removed.
        """
        kept = {self.partial_path(path) for path in keep}
        removed = 0
        for directory in sorted({path.parts[:-1] for path in beside}):
            try:
                names = self._tree.names(RelPath("/".join(directory)) if directory else None)
            except UnsafePath:
                continue  # a link or a file lies there; whoever wants an entry below it says so
            for name in names:
                if not (name.startswith(PARTIAL_PREFIX) and name.endswith(PARTIAL_SUFFIX)):
                    continue
                place = RelPath("/".join((*directory, name)))
                if place not in kept and not (only_links and self._is_copied(place)):
                    self._remove(place)
                    removed += 1
        return removed

    def _is_copied(self, path: RelPath) -> bool:
        """Whether it is a file with one name, unlike a symlink or a hard link."""
        status = self._tree.lstat(path)
        return status is not None and is_regular(status) and status.st_nlink == 1

    def _remove(self, path: RelPath) -> None:
        with self._tree.parent(path) as directory, translated(self._tree.absolute(path), writing=True):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path.name, dir_fd=directory)
            os.fsync(directory)

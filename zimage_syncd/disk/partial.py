"""Partial files: where a file's chunks are gathered until every one of them counts.

A partial lies in the directory of its file under a hidden name that depends on the file's path alone, so the next run
finds it; where several hosts reach the disk it depends on the lease's fence, too, so that a host which took the disk
over does not. It has no journal: what it holds is hashed again (docs/adr/0002).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
from collections.abc import Callable

from zimage_syncd.disk.arrived import UNREADABLE, look_at_chunks
from zimage_syncd.disk.errors import translate, translated
from zimage_syncd.disk.file_system import is_in_memory
from zimage_syncd.disk.network import writes_at_close
from zimage_syncd.disk.reflink import share_extents
from zimage_syncd.disk.tree import Tree, is_regular
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import PARTIAL_PREFIX, PARTIAL_SUFFIX

_SYNC_FILE_RANGE_WRITE = 2
"""sync_file_range(2): begins writeback, and waits neither for what is under way nor for the end."""

_NO_PREALLOCATION = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

_PUNCH_HOLE = 0x01 | 0x02
"""fallocate(2): FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE (linux/falloc.h)."""

_BACKDATED_NS = 4 * 10**9
"""How far a finished file's time of modification lies before its last write. Whoever writes to it later, even at the
same tick of the file system's clock (up to 2 s on FAT), leaves another time, so its stat tells (docs/adr/0011)."""

_MODE = 0o600
"""Of a partial: nobody else reads what does not count yet."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def partial_name(path: RelPath, fence: int = 0) -> str:
    """The partial's name beside `path`; another one for each fence (see `ports.Lease`)."""
    fenced = f"{path.name}/{fence}" if fence else path.name
    digest = hashlib.sha256(fenced.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{PARTIAL_PREFIX}{digest}{PARTIAL_SUFFIX}"


class PartialFile:
    """One file on its way; pieces may be written from several threads."""

    def __init__(self, tree: Tree, path: RelPath, size_bytes: int, like: int | None = None, fence: int = 0) -> None:
        """Opens the partial of `path`, made and preallocated where it is not there.

        Args:
            tree: the cache.
            path: where the file will be.
            size_bytes: what it will have.
            like: an open file whose extents a new partial shares instead, where the file system can.
            fence: the lease's.

        Raises:
            DeviceFull, PathUnwritable, DataDiskReadOnly, UnsafePath, DiskError: as their names say.
        """
        self.path = path
        self.size_bytes = size_bytes
        self._tree = tree
        self._name = partial_name(path, fence)
        self._where = tree.absolute(path)
        with tree.parent(path, create=True) as directory, translated(self._where, writing=True):
            self._descriptor = _opened(self._name, directory)
        try:
            with translated(self._where, writing=True):
                self._is_fresh = fresh = os.fstat(self._descriptor).st_blocks == 0
                if fresh and like is not None and self.reflink(like):
                    os.ftruncate(self._descriptor, size_bytes)  # the other file may have grown since it was looked at
                else:
                    _preallocate(self._descriptor, size_bytes)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, offset: int, data: memoryview) -> None:
        """Writes a piece where it belongs.

        Raises:
            DeviceFull, DiskError: as their names say.
        """
        self._is_fresh = False
        while len(data):
            try:
                count = os.pwrite(self._descriptor, data, offset)
            except OSError as error:
                raise translate(error, self._where, writing=True) from error
            data = data[count:]
            offset += count

    def lend(self) -> int | None:
        """Its descriptor, for another process that writes pieces where they belong; open until it is closed.

        None where that process's own close(2) may be told of a write that failed: an error is told once (sshfs, older
        NFS), and the fsync of `finish` would find none.
        """
        if writes_at_close(self._descriptor):
            return None
        self._is_fresh = False
        return self._descriptor

    def start_writeback(self, offset: int, length: int) -> None:
        """Lets the kernel begin to write a range that is complete, so that the fsync at the end finds little to do.

        A hint: where the file system does not know it, nothing happens.
        """
        _LIBC.sync_file_range(
            self._descriptor, ctypes.c_longlong(offset), ctypes.c_longlong(length), _SYNC_FILE_RANGE_WRITE
        )

    def missing_chunks(self, file: FileEntry, check: Callable[[], None]) -> list[int]:
        """Indexes of the chunks that do not count yet; what has never been written is not read.

        A chunk that the disk cannot give is missing, too. Its blocks are let go of, so that what is fetched lies in
        others.

        Args:
            file: what the content shall be.
            check: called before each chunk that is hashed; may raise to stop.
        """
        if self._is_fresh:
            return list(range(len(file.chunks)))
        found = look_at_chunks(self._descriptor, self._where, file, check)
        for index in found.unreadable:
            _let_go(self._descriptor, index * CHUNK_BYTES, file.chunk_length(index))
        return found.missing

    def clone(self, source: int) -> bool:
        """Takes over the content of an open file: by sharing extents where the file system can, else by copying.

        What the disk cannot give stays as it was preallocated, chunk by chunk: `missing_chunks` finds it.

        Returns:
            Whether extents are shared.
        """
        self._is_fresh = False
        if self.reflink(source):
            with translated(self._where, writing=True):
                os.ftruncate(self._descriptor, self.size_bytes)
            return True
        with translated(self._where, writing=True):
            end = min(self.size_bytes, os.fstat(source).st_size)
            for offset in range(0, end, CHUNK_BYTES):
                try:
                    self._copy(source, offset, min(offset + CHUNK_BYTES, end))
                except OSError as error:
                    if error.errno not in UNREADABLE:
                        raise
        return False

    def _copy(self, source: int, offset: int, end: int) -> None:
        while offset < end:
            count = os.copy_file_range(source, self._descriptor, end - offset, offset, offset)
            if count == 0:
                break
            offset += count

    def reflink(self, source: int) -> bool:
        """Shares all extents of an open file; False where the file system cannot."""
        with translated(self._where, writing=True):
            if not share_extents(self._descriptor, source):
                return False
        self._is_fresh = False
        return True

    def finish(self, mode: int) -> None:
        """Makes the content durable and gives it its final name, whatever lay there before.

        Raises:
            DeviceFull, PathUnwritable, DiskError: as their names say; the partial stays.
        """
        with translated(self._where, writing=True):
            os.fchmod(self._descriptor, mode)
            self._tree.own(self._descriptor)
            status = os.fstat(self._descriptor)
            os.utime(self._descriptor, ns=(status.st_atime_ns, status.st_mtime_ns - _BACKDATED_NS))
            os.fsync(self._descriptor)
            with self._tree.parent(self.path) as directory:
                os.rename(self._name, self.path.name, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)
        self.close()

    def discard(self) -> None:
        """Removes the partial."""
        self.close()
        with contextlib.suppress(FileNotFoundError), self._tree.parent(self.path) as directory:
            os.unlink(self._name, dir_fd=directory)

    def close(self) -> None:
        """Lets go of the partial, which stays for the next run.

        A network file system may tell only now what became of a write. What is finished was synced before that, and
        what is not is hashed again. The descriptor is gone in either case: its number may be another file's by now.
        """
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _opened(name: str, directory: int) -> int:
    """Opens a partial, or makes it; one that has the mode of its file already gets its own back.

    Whoever died between the two last steps of `finish` left it so, and not only root shall be able to go on with it.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, _MODE, dir_fd=directory)
    except PermissionError:
        named = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            if not is_regular(os.fstat(named)):
                raise
            os.chmod(f"/proc/self/fd/{named}", _MODE)
        finally:
            os.close(named)
    return os.open(name, flags, _MODE, dir_fd=directory)


def _preallocate(descriptor: int, size_bytes: int) -> None:
    """Reserves the bytes, so that a full disk is met now and not at the last chunk.

    fallocate(2) itself: glibc's posix_fallocate writes zeros where the file system cannot preallocate, which would
    take minutes and look like data. In memory nothing is gained by it, and one thread finds a file's pages in 0.14 s/GB
    before others can write into them.
    """
    if os.fstat(descriptor).st_size != size_bytes:
        os.ftruncate(descriptor, size_bytes)
    if size_bytes == 0 or is_in_memory(descriptor):
        return
    result = _LIBC.fallocate(descriptor, 0, ctypes.c_longlong(0), ctypes.c_longlong(size_bytes))
    if result != 0:
        code = ctypes.get_errno()
        if code not in _NO_PREALLOCATION:
            raise OSError(code, os.strerror(code))


def _let_go(descriptor: int, offset: int, length: int) -> None:
    """Gives the blocks of a range back; where the file system cannot, they are written over in place."""
    _LIBC.fallocate(descriptor, _PUNCH_HOLE, ctypes.c_longlong(offset), ctypes.c_longlong(length))

"""Brings one file of a directory, which is taken in, into the cache, and compares what lies there with it."""

from __future__ import annotations

import os

from zimage_syncd.digest import PIECE_BYTES, read_pieces
from zimage_syncd.model.failures import DiskError, FileChanging, LinkModeUnsupported, UnsafePath
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.ports import OldDirectory, OldEntry, Partial, Reader, SeenFile
from zimage_syncd.work.site import Site


class Bringer:
    """For one cache and one directory; from any thread."""

    def __init__(self, site: Site, old: OldDirectory) -> None:
        self._disk = site.disk
        self._cancel = site.cancel
        self._old = old

    def is_near(self) -> bool:
        """Whether both lie on one file system, where a second name is all that a file needs."""
        return self._old.device() == os.stat(self._disk.root).st_dev

    def bring(self, entry: OldEntry, reader: Reader) -> int:
        """Lets a file appear where the cache has none; returns how many bytes were written.

        Raises:
            FileChanging: it vanished meanwhile.
            DiskError: it cannot be read, or what was written is not what is read back: it has no name then.
            DeviceFull, PathUnreadable, PathUnwritable, UnsafePath: as their names say.
        """
        if self.is_near():
            try:
                self._disk.place(entry.wanted, self._old.absolute(entry.path), LinkMode.HARDLINK)
            except LinkModeUnsupported:
                pass
            else:
                return 0
        begun = self._disk.begin_file(entry.wanted, size_of(entry))
        try:
            self._copy(entry, begun)
            # Before it has its name: what the disk gives back is what the old directory holds.
            if not self.is_equal(entry, self._disk.partial_path(entry.wanted), reader):
                raise DiskError(entry.wanted, "what was written is not what is read back")
            self._disk.finish_file(begun, _mode(entry), keep_old=True)
        except BaseException:
            begun.discard()
            raise
        return size_of(entry)

    def _copy(self, entry: OldEntry, begun: Partial) -> None:
        source = self._open(entry)
        try:
            if begun.reflink(source):
                return
            buffer = memoryview(bytearray(PIECE_BYTES))
            for offset in range(0, size_of(entry), CHUNK_BYTES):
                position = offset
                for piece in read_pieces(source, offset, min(CHUNK_BYTES, size_of(entry) - offset), buffer):
                    self._cancel.check()
                    begun.write(position, piece)
                    position += len(piece)
                begun.start_writeback(offset, position - offset)
        except OSError as error:
            raise DiskError(self._old.absolute(entry.path), str(error.strerror)) from error
        finally:
            os.close(source)

    def is_equal(self, entry: OldEntry, path: RelPath, reader: Reader) -> bool:
        """Whether a file of the cache holds the same bytes; read past the page cache, where the file system lets us.

        Raises:
            FileChanging, DiskError, PathUnreadable, UnsafePath: as in `bring`.
        """
        source, other = self._open(entry), self._disk.open_read(path)
        try:
            if os.path.sameopenfile(source, other):
                if os.fstat(source).st_nlink == 1:
                    raise UnsafePath(self._old.absolute(entry.path), "it is the cache's own file, by another mount")
                return True
            if os.fstat(other).st_size != size_of(entry):
                return False
            reader.begin(other)
            return self._same_bytes(source, other, size_of(entry), reader)
        except OSError as error:
            raise DiskError(self._old.absolute(entry.path), str(error.strerror)) from error
        finally:
            os.close(source)
            os.close(other)

    def _same_bytes(self, source: int, other: int, size_bytes: int, reader: Reader) -> bool:
        offset = 0
        for piece in reader.pieces(other, 0, size_bytes):
            self._cancel.check()
            if os.pread(source, len(piece), offset) != bytes(piece):
                return False
            offset += len(piece)
        return offset == size_bytes

    def _open(self, entry: OldEntry) -> int:
        try:
            return self._old.open_read(entry.path)
        except FileNotFoundError as error:
            raise FileChanging(self._old.absolute(entry.path), "it was removed meanwhile") from error


def size_of(entry: OldEntry) -> int:
    """Bytes of a file; 0 of everything else."""
    return entry.seen.stat.size_bytes if isinstance(entry.seen, SeenFile) else 0


def _mode(entry: OldEntry) -> int:
    return entry.seen.stat.mode if isinstance(entry.seen, SeenFile) else 0o644

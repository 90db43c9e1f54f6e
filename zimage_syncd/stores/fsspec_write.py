"""Writes objects of an fsspec file system so that they appear whole: under a hidden name first, where it renames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from zimage_syncd.model.failures import ObjectMissing, StoreBroken, StoreMissing
from zimage_syncd.model.path import RelPath
from zimage_syncd.stores import keys
from zimage_syncd.stores.fsspec_connection import Connection, FileSystem
from zimage_syncd.stores.fsspec_upload import FsspecUpload, sync_file
from zimage_syncd.stores.parts import Parts


class Writer:
    """The writing half of an `FsspecStore`.

    Args:
        connection: to the file system.
        owner: as `owner_mark` gives it.
    """

    def __init__(self, connection: Connection, owner: str) -> None:
        self._connection = connection
        self._owner = owner
        self._made: frozenset[str] = frozenset()

    def full(self, path: str) -> str:
        """A path as the file system takes it."""
        return f"{self._connection.root}/{path}"

    def hidden(self, path: RelPath) -> RelPath:
        """A new hidden name beside an object."""
        return RelPath("/".join((*path.parts[:-1], keys.temporary_name(path.name, self._owner))))

    def put(self, path: RelPath, data: bytes) -> None:
        """Writes or replaces a small object; nothing hidden is left after a failure."""
        with self._writing(path) as system:
            if not self._connection.renames:
                system.pipe_file(self.full(path), data)
                return
            hidden = self.full(self.hidden(path))
            try:
                with system.open(hidden, "wb") as file:
                    file.write(data)
                    sync_file(file)
                system.mv(hidden, self.full(path))
            except BaseException:
                with suppress(Exception):
                    system.rm_file(hidden)
                raise

    def create(self, path: RelPath, data: bytes) -> bool:
        """Writes an object unless one is there; two creators at one moment may both be told True."""
        with self._connection.using(path) as system:
            system.invalidate_cache()
            if system.exists(self.full(path)):
                return False
        self.put(path, data)
        return True

    def begin_upload(self, path: RelPath, parts: Parts) -> FsspecUpload:
        """Opens a hidden object for parts."""
        hidden = self.hidden(path)
        with self._writing(path):
            return FsspecUpload(
                self._connection, hidden, parts, lambda: self._publish(hidden, path), lambda: self.remove(hidden)
            )

    def remove(self, path: RelPath) -> None:
        """Deletes a file if it is there."""
        with self._connection.using(path) as system, suppress(FileNotFoundError):
            system.rm_file(self.full(path))

    def make_root(self) -> None:
        """Makes the root where its parent is there, and where the file system has directories at all."""
        root = self._connection.root
        if not self._connection.renames or not root:
            return
        with self._connection.using(self._connection.address) as system:
            try:
                system.info(root)
            except FileNotFoundError:
                self._require(system, root.rpartition("/")[0] or "/")
                system.makedirs(root, exist_ok=True)

    def require_root(self) -> None:
        """Makes sure that the root is there, where the file system has directories.

        Raises:
            StoreMissing: it is not.
        """
        if self._connection.renames:
            with self._connection.using(self._connection.address) as system:
                self._require(system, self._connection.root or "/")

    def _require(self, system: FileSystem, directory: str) -> None:
        try:
            system.info(directory)
        except FileNotFoundError as error:
            raise StoreMissing(self._connection.address, f"there is no directory {directory}") from error

    @contextmanager
    def _writing(self, path: RelPath) -> Iterator[FileSystem]:
        """The file system, with the directories above `path` made below a root that is there."""
        try:
            if self._connection.renames:
                self._make_parents(path)
            with self._connection.using(path) as system:
                yield system
        except ObjectMissing as error:
            self._made = frozenset()
            self.require_root()
            raise StoreBroken(path, "a directory above it vanished while it was written") from error

    def _make_parents(self, path: RelPath) -> None:
        above = path.rpartition("/")[0]
        if above in self._made:
            return
        self.require_root()
        with self._connection.using(path) as system:
            if above:
                system.makedirs(self.full(above), exist_ok=True)
        self._made |= {above}

    def _publish(self, hidden: RelPath, path: RelPath) -> None:
        with self._writing(path) as system:
            if self._connection.renames:
                system.mv(self.full(hidden), self.full(path))
            else:
                # Not `mv` or `copy`: fsspec's own would read `*` and `?` in a key as patterns.
                system.cp_file(self.full(hidden), self.full(path))
                system.rm_file(self.full(hidden))

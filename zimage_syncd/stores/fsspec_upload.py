"""An object behind an fsspec URL that is being written in parts, into a hidden object."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import IO, Any, TypeAlias

from zimage_syncd.model.failures import Failure, StoreBroken
from zimage_syncd.ports import PartBody
from zimage_syncd.stores.fsspec_connection import Connection
from zimage_syncd.stores.parts import Parts, pieces_of

OpenFile: TypeAlias = Any
"""What `open` of a file system gives."""


class FsspecUpload:
    """Parts are written at their places where the file system can, else kept in local files until their turn.

    Args:
        connection: to the file system.
        hidden: path of the hidden object, below the connection's root.
        parts: how the object is cut.
        publish: makes the hidden object the real one.
        remove: deletes the hidden object if it is there.
    """

    def __init__(
        self,
        connection: Connection,
        hidden: str,
        parts: Parts,
        publish: Callable[[], None],
        remove: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._hidden = hidden
        self._parts = parts
        self._publish = publish
        self._remove = remove
        self._lock = threading.Lock()
        self._sent: set[int] = set()
        self._waiting: dict[int, IO[bytes]] = {}
        self._next = 1
        self._lost = False
        self._finished = False
        with connection.using(hidden) as system:
            self._file: OpenFile = system.open(f"{connection.root}/{hidden}", "wb")
        self._seekable = bool(self._file.seekable())

    @property
    def id(self) -> str:
        """The hidden object's path below the store's root."""
        return self._hidden

    @property
    def part_bytes(self) -> int:
        """Size of every part but the last."""
        return self._parts.part_bytes

    def put_part(self, number: int, body: PartBody) -> None:
        """Writes part `number`, or keeps it until those before it are written.

        Raises:
            FileChanging: the body ends before its length.
            StoreBroken: an earlier write failed half-way, so that the upload is lost.
        """
        self._parts.check(number, body)
        if self._seekable:
            self._write_at_its_place(number, body)
        else:
            self._write_in_turn(number, body)

    def complete(self) -> None:
        """Makes the object appear.

        Raises:
            StoreBroken: a part was never sent, or somebody gave the upload up.
        """
        self._require_whole()
        self._parts.require_all(self._sent)
        with self._connection.using(self._hidden):
            sync_file(self._file)
            self._file.close()
        self._publish()
        self._finished = True

    def abort(self) -> None:
        """Removes the hidden object; does nothing after `complete`."""
        if self._finished:
            return
        with ExitStack() as stack:
            for spool in self._waiting.values():
                stack.callback(spool.close)
            self._waiting.clear()
            with suppress(Failure), self._connection.using(self._hidden):
                self._file.close()
        self._remove()
        self._finished = True

    def _write_at_its_place(self, number: int, body: PartBody) -> None:
        pieces = pieces_of(self._parts.key, body)
        with self._lock:
            position = self._parts.offset(number)
            for piece in pieces:
                # What the body raises is not the store's, so only the writing is translated.
                with self._connection.using(self._hidden):
                    self._file.seek(position)
                    self._file.write(piece)
                position += len(piece)
            self._sent.add(number)

    def _write_in_turn(self, number: int, body: PartBody) -> None:
        # The whole part is taken first: a body that fails half-way must not leave half of itself in a stream.
        spool: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed once it is written)
        try:
            for piece in pieces_of(self._parts.key, body):
                spool.write(piece)
        except BaseException:
            spool.close()
            raise
        with self._lock:
            if number < self._next or number in self._waiting:
                spool.close()
                return
            self._waiting[number] = spool
            self._sent.add(number)
            while self._next in self._waiting:
                self._append(self._waiting.pop(self._next))

    def _append(self, spool: IO[bytes]) -> None:
        with spool, self._connection.using(self._hidden):
            self._require_whole()
            spool.seek(0)
            # A stream cannot go back: half a part in it is the end of the upload.
            self._lost = True
            shutil.copyfileobj(spool, self._file, 2**20)
            self._lost = False
        self._next += 1

    def _require_whole(self) -> None:
        if self._lost:
            raise StoreBroken(self._hidden, "an earlier part could not be written, the upload is lost")


def sync_file(file: OpenFile) -> None:
    """Makes a file durable where its file system can be asked to; SFTP servers often cannot."""
    fsync = getattr(file, "fsync", None)
    if fsync is None:
        return
    try:
        fsync()
    except Exception as error:
        # asyncssh's SFTPOpUnsupported: the server lacks the extension fsync@openssh.com.
        if type(error).__name__ != "SFTPOpUnsupported":
            raise

"""The ledger: what was verified when, per file, and uploads that are not finished; SQLite on the data disk.

A hint, never truth: a lost or damaged ledger is begun anew and costs time only; one that somebody else is at is left
alone. No WAL, since the data disk may be a network file system.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from zimage_syncd.digest import FileDigests
from zimage_syncd.disk.ledger_file import open_to_look, open_to_write
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import FileStat, LedgerEntry, PendingUpload, SentPart

_SETTLED_NS = 2 * 10**9
"""A file changed less than 2 s before its hash is not recorded: another change could bear the same time."""

_DIGEST_BYTES = 32
_CHECK_BYTES = 8
"""A checksum ends each file's row, since SQLite has none: a flipped bit in a digest would be taken for damage of the
file, or go into a manifest by which no store is right."""
_KEEP_EVERY_S = 0.5
"""A commit waits for the disk: with one for each of 20,000 files a verification took 31 s instead of 5. What a crash
takes costs a hash, no truth."""
_AHEAD_ROWS = 512
"""Rows read ahead at most, about 200 KB: a query for each of 100,000 files took 18 µs of its own."""

_NAMES = "utf-8"


class SqliteLedger:
    """A `ports.Ledger` in one SQLite file; safe to use from several threads."""

    def __init__(self, path: str, *, only_looking: bool = False) -> None:
        """Opens or makes the ledger; a damaged one is removed and begun anew.

        Args:
            path: its file; `:memory:`, or empty for a temporary file that vanishes with the connection.
            only_looking: for whoever has no lock: nothing is made, removed or written.

        Raises:
            DiskError, PathUnwritable: it can neither be opened nor made.
        """
        self._lock = threading.Lock()
        self._kept_at: datetime | None = None
        self._ahead: dict[bytes, tuple[Any, ...]] = {}
        self._ahead_rows = 1
        self._ahead_used = 0
        self._connection = open_to_look(path) if only_looking else open_to_write(path)

    def close(self) -> None:
        """Keeps what is not kept yet, and closes the file."""
        with self._lock:
            self._commit()
            self._connection.close()

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError:
                return []  # a hint that cannot be read is no hint

    def _write(self, statement: str, values: tuple[Any, ...], at: datetime | None = None) -> None:
        """Writes; with `at`, what follows within half a second may wait for one commit with it."""
        with self._lock, contextlib.suppress(sqlite3.DatabaseError):
            self._ahead.clear()
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(statement, values)
            if at is None or self._kept_at is None or abs((at - self._kept_at).total_seconds()) > _KEEP_EVERY_S:
                self._kept_at = at
                self._commit()

    def _commit(self) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def lookup(self, path: RelPath, stat: FileStat) -> LedgerEntry | None:
        """What is known of a file, unless its stat has changed since."""
        row = self._unchanged(path, stat)
        known = None if row is None else _digests(row)
        try:
            return None if row is None or known is None else LedgerEntry(known, datetime.fromtimestamp(row[7], UTC))
        except (TypeError, ValueError, OverflowError, OSError):
            return None  # a row that is not ours is no hint either

    def digests(self, path: RelPath, stat: FileStat) -> FileDigests | None:
        """The same without the time."""
        row = self._unchanged(path, stat)
        return None if row is None else _digests(row)

    def _unchanged(self, path: RelPath, stat: FileStat) -> tuple[Any, ...] | None:
        row = self._row(_key(path))
        wanted = (stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns)
        return None if row is None or row[1:5] != wanted else row

    def _row(self, key: bytes) -> tuple[Any, ...] | None:
        """One file's row; whoever asks in the order of paths is given the rows that follow from memory."""
        with self._lock:
            row = self._ahead.get(key)
            if row is not None:
                self._ahead_used += 1
                return row
            # As long as most of what was read ahead is asked for, twice as much is read the next time.
            useful = 2 * self._ahead_used >= len(self._ahead)
            self._ahead_rows = min(_AHEAD_ROWS, 2 * self._ahead_rows) if useful else 1
            values = (key, self._ahead_rows)
            try:
                rows = self._connection.execute(
                    "SELECT path, inode, size_bytes, mtime_ns, ctime_ns, sha256, chunks, verified_at FROM files"
                    " WHERE path >= ? ORDER BY path LIMIT ?",
                    values,
                ).fetchall()
            except sqlite3.DatabaseError:
                rows = []  # a hint that cannot be read is no hint
            self._ahead = {row[0]: row for row in rows}
            row = self._ahead.get(key)
            self._ahead_used = 0 if row is None else 1
            return row

    def was_good(self, path: RelPath, mtime_ns: int, sha256: str) -> bool:
        """Whether a file was recorded with this content and this time of modification."""
        rows = self._rows("SELECT mtime_ns, sha256 FROM files WHERE path = ?", (_key(path),))
        return rows == [(mtime_ns, bytes.fromhex(sha256))]

    def record(
        self, path: RelPath, stat: FileStat, digests: FileDigests, verified_at: datetime, *, settled: bool = False
    ) -> None:
        """Keeps what was just computed (see `ports.Ledger.record`)."""
        if not settled and verified_at.timestamp() * 1e9 - max(stat.mtime_ns, stat.ctime_ns) < _SETTLED_NS:
            return
        numbers = (stat.inode, stat.size_bytes, stat.mtime_ns, stat.ctime_ns)
        sha256, chunks = bytes.fromhex(digests.sha256), _packed(digests.chunks)
        row = (_key(path), *numbers, sha256, chunks, verified_at.timestamp())
        checked = (*row[:6], chunks + _check(row), row[7])
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", checked, at=verified_at)

    def forget(self, path: RelPath) -> None:
        """Removes what is known of a file."""
        self._write("DELETE FROM files WHERE path = ?", (_key(path),))

    def begin_upload(self, store: str, sha256: str) -> None:
        """An upload is about to begin; what is known of an earlier one of this blob is forgotten."""
        self._forget_parts(store, sha256)
        self._write("INSERT OR REPLACE INTO uploads VALUES (?, ?, NULL)", (store, sha256))

    def know_upload(self, store: str, sha256: str, upload_id: str) -> None:
        """The store has named it."""
        self._write("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (store, sha256, upload_id))

    def know_part(self, store: str, sha256: str, number: int, part: SentPart, at: datetime) -> None:
        """The store has taken a part."""
        row = (store, sha256, number, part.mark, _packed(part.chunks))
        self._write("INSERT OR REPLACE INTO upload_parts VALUES (?, ?, ?, ?, ?)", row, at=at)

    def sent_parts(self, store: str, sha256: str) -> dict[int, SentPart]:
        """The parts of a pending upload that the store has taken, by number."""
        statement = "SELECT number, mark, chunks FROM upload_parts WHERE store = ? AND sha256 = ?"
        try:
            rows = self._rows(statement, (store, sha256))
            return {int(number): SentPart(str(mark), _unpacked(chunks)) for number, mark, chunks in rows}
        except (AttributeError, TypeError, ValueError):
            return {}  # rows that are not ours are no hint

    def _forget_parts(self, store: str, sha256: str) -> None:
        self._write("DELETE FROM upload_parts WHERE store = ? AND sha256 = ?", (store, sha256))

    def end_upload(self, store: str, sha256: str) -> None:
        """It was completed or aborted."""
        self._forget_parts(store, sha256)
        self._write("DELETE FROM uploads WHERE store = ? AND sha256 = ?", (store, sha256))

    def pending_uploads(self, store: str) -> list[PendingUpload]:
        """What a crash left."""
        rows = self._rows("SELECT store, sha256, upload_id FROM uploads WHERE store = ? ORDER BY sha256", (store,))
        return [PendingUpload(*row) for row in rows]


def _key(path: RelPath) -> bytes:
    return path.encode(_NAMES, "surrogateescape")


def _packed(digests: Sequence[str]) -> bytes:
    return bytes.fromhex("".join(digests))


def _unpacked(chunks: bytes) -> tuple[str, ...]:
    if len(chunks) == _DIGEST_BYTES:  # nearly every file
        return (chunks.hex(),)
    return tuple(chunks[at : at + _DIGEST_BYTES].hex() for at in range(0, len(chunks), _DIGEST_BYTES))


def _check(row: tuple[Any, ...]) -> bytes:
    """The checksum of a row without its checksum."""
    path, inode, size_bytes, mtime_ns, ctime_ns, sha256, chunks, verified_at = row
    numbers = f"{inode} {size_bytes} {mtime_ns} {ctime_ns} {verified_at!r} ".encode()
    return hashlib.blake2b(b"".join((numbers, sha256, chunks, path)), digest_size=_CHECK_BYTES).digest()


def _digests(row: tuple[Any, ...]) -> FileDigests | None:
    path, inode, size_bytes, mtime_ns, ctime_ns, sha256, checked, verified_at = row
    try:
        chunks, check = checked[:-_CHECK_BYTES], checked[-_CHECK_BYTES:]
        if check != _check((path, inode, size_bytes, mtime_ns, ctime_ns, sha256, chunks, verified_at)):
            return None
        return FileDigests(size_bytes, sha256.hex(), "", _unpacked(chunks))
    except (AttributeError, TypeError, ValueError):
        return None  # a row that is not ours is no hint

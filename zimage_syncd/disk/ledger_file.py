"""The ledger's file: opened to write by the one process that has the cache's lock, or only to look.

A damaged file is removed and begun anew; one that somebody else is at, or that a full disk cannot take, is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from urllib.parse import quote

from zimage_syncd.disk.errors import translated
from zimage_syncd.model.failures import DiskError

_SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 5.0
_NOT_DAMAGED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})
"""What says nothing about the file: another process writes to it, or the disk is full (sqlite.org/rescode.html)."""

_TEMPORARY = ""
"""A file of SQLite's own, of which a part is in memory; it vanishes with the connection."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, inode INTEGER, size_bytes INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    sha256 BLOB, chunks BLOB, verified_at REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uploads (
    store TEXT, sha256 TEXT, upload_id TEXT, PRIMARY KEY (store, sha256)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS upload_parts (
    store TEXT, sha256 TEXT, number INTEGER, mark TEXT, chunks BLOB,
    PRIMARY KEY (store, sha256, number)) WITHOUT ROWID;
"""


def open_to_write(path: str) -> sqlite3.Connection:
    """Opens or makes the file; a temporary one where it is in use, or cannot be written for want of room.

    Args:
        path: `:memory:`, or empty for a temporary file.

    Raises:
        DiskError, PathUnwritable: it can neither be opened nor made.
    """
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if _primary(error) in _NOT_DAMAGED:
            return _open(_TEMPORARY)
    with translated(path, writing=True):
        for suffix in ("", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        raise DiskError(path, f"the ledger cannot be opened: {error}") from error


def open_to_look(path: str) -> sqlite3.Connection:
    """Opens the file so that it cannot be written; a temporary, empty one where that is not possible."""
    try:
        connection = _connect(f"file:{quote(path)}?mode=ro")
        try:
            _check_version(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError:
        return _open(_TEMPORARY)  # not there, or half written when somebody died: nothing is known
    return connection


def _open(path: str) -> sqlite3.Connection:
    connection = _connect(path)
    try:
        version = _check_version(connection)
        connection.execute("PRAGMA journal_mode=TRUNCATE")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_SCHEMA)
        if version != _SCHEMA_VERSION:
            connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(place: str) -> sqlite3.Connection:
    is_uri = place.startswith("file:")
    return sqlite3.connect(place, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=is_uri)


def _check_version(connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version not in {0, _SCHEMA_VERSION}:
        raise sqlite3.DatabaseError("another version's schema")
    return version


def _primary(error: sqlite3.DatabaseError) -> int | None:
    """SQLite's code without its details; None where it is an error of ours."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF

"""Walks the files of an fsspec file system, in the order of their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from zimage_syncd.stores.fsspec_connection import FileSystem
from zimage_syncd.stores.keys import in_key_order

_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "ModifiedAt", "created")
"""Under which names implementations tell when a file was changed (local, s3fs, adlfs, webdav, gcsfs, ftp, memory)."""


def walk(system: FileSystem, root: str, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the path below `root` and the info of every file that could begin with `prefix`.

    Lists directory by directory: `find` of many implementations leaves out what it may not see, and a listing
    with holes would let a prune delete what is in use.

    Raises:
        Exception: whatever the file system raises, but for directories that are not there.
    """
    system.invalidate_cache()
    yield from _below(system, root, prefix.rpartition("/")[0], prefix)


def _below(system: FileSystem, root: str, directory: str, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    where = f"{root}/{directory}".rstrip("/")
    try:
        entries = {_name(info): info for info in system.ls(where or "/", detail=True)}
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in in_key_order({name: info["type"] == "directory" for name, info in entries.items() if name}):
        info = entries[name]
        path = f"{directory}/{name}" if directory else name
        if info["type"] == "file":
            # A file that is listed as itself is no directory's entry.
            if str(info["name"]).strip("/") == f"{root}/{path}".strip("/"):
                yield path, info
        elif info["type"] == "directory":
            inside = f"{path}/"
            if inside.startswith(prefix) or prefix.startswith(inside):
                yield from _below(system, root, path, prefix)


def modified_at(info: Mapping[str, Any]) -> datetime:
    """When a file was changed, UTC; the present where that is not told, so that it never counts as old."""
    for name in _TIMES:
        match info.get(name):
            case datetime() as moment:
                return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            case int() | float() as seconds:
                return datetime.fromtimestamp(seconds, UTC)
            case str() as text:
                try:
                    return datetime.fromisoformat(text).astimezone(UTC)
                except ValueError:
                    continue
    return datetime.now(UTC)


def _name(info: Mapping[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]

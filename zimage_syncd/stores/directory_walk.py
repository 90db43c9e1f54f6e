"""Walks the files of a store that is a directory, in the order of their keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from zimage_syncd.stores.keys import in_key_order
from zimage_syncd.stores.os_errors import ABSENT, failure_of


def walk(root: str, prefix: str, wanted: Callable[[str], bool] | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """Yields every regular file's path below `root` that could begin with `prefix`, hidden names included.

    Follows no link to a directory. What vanishes meanwhile is passed over; a directory that cannot be listed
    raises, since a listing with holes would let a prune delete what is in use.

    Args:
        root: the store's directory.
        prefix: of the paths.
        wanted: whether a file of this name is asked for; of the others not even the stat is read. None: all are.

    Raises:
        StoreMissing, StoreDenied, DiskError: as their names say.
    """
    base = prefix.rpartition("/")[0]
    yield from _below(root, base, prefix, wanted)


def _below(
    root: str, directory: str, prefix: str, wanted: Callable[[str], bool] | None
) -> Iterator[tuple[str, os.stat_result]]:
    entries = _entries(root, directory)
    is_directory = {name: entry.is_dir(follow_symlinks=False) for name, entry in entries.items()}
    for name in in_key_order(is_directory):
        entry = entries[name]
        path = f"{directory}/{name}" if directory else name
        if is_directory[name]:
            inside = f"{path}/"
            if inside.startswith(prefix) or prefix.startswith(inside):
                yield from _below(root, path, prefix, wanted)
            continue
        try:
            if (wanted is None or wanted(name)) and entry.is_file():
                yield path, entry.stat()
        except FileNotFoundError:
            continue


def _entries(root: str, directory: str) -> dict[str, os.DirEntry[str]]:
    path = os.path.join(root, directory)
    try:
        with os.scandir(path) as found:
            return {entry.name: entry for entry in found}
    except OSError as error:
        if error.errno in ABSENT and os.path.isdir(root):
            return {}
        raise failure_of(error, root, path, "list") from error

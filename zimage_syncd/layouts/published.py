"""Which file of a repository each payload file of a snapshot is: how a hub is asked for it.

Pure: reads a manifest and nothing else. A library names its blobs after their content; only the links that lead to
them say what the publisher calls them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from zimage_syncd.model.manifest import Entry, FileEntry, LinkEntry, Manifest
from zimage_syncd.model.path import RelPath, resolve_link

_MAX_LINKS = 8
"""A file of a Hugging Face snapshot lies behind two links at most: snapshot → blob → shared blob."""


def published(
    manifest: Manifest, directory: RelPath, made_locally: frozenset[str] = frozenset()
) -> Mapping[RelPath, str]:
    """Names in the repository by the payload's paths; what no name leads to is not in it.

    Args:
        manifest: of the snapshot.
        directory: where its files lie under the names that the publisher gave them, from the cache directory.
        made_locally: names of files that the library wrote itself.

    Returns:
        For content that has several names, the first one in the order of the alphabet.
    """
    entries: dict[RelPath, Entry] = {entry.path: entry for entry in manifest.entries}
    names: dict[RelPath, str] = {}
    for entry in manifest.entries:
        if not entry.path.is_below(directory):
            continue
        name = entry.path.removeprefix(f"{directory}/")
        payload = None if name in made_locally or not _is_text(name) else _payload(entry, entries)
        if payload is not None:
            names.setdefault(payload, name)
    return MappingProxyType(names)


def _is_text(name: str) -> bool:
    """Whether a name can be asked for: a disk's names may be no UTF-8, a repository's are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _payload(entry: Entry, entries: Mapping[RelPath, Entry]) -> RelPath | None:
    """The payload file that an entry is or leads to."""
    seen: Entry | None = entry
    for _ in range(_MAX_LINKS):
        if not isinstance(seen, LinkEntry):
            break
        seen = entries.get(resolve_link(seen.path, seen.target))
    return seen.path if isinstance(seen, FileEntry) else None

"""What people call a file: a blob's name says nothing, the snapshot's links to it do."""

from __future__ import annotations

from collections.abc import Sequence

from zimage_syncd.model.manifest import Entry, Manifest
from zimage_syncd.model.path import RelPath, resolve_link

_NAMED = 3
"""How many of many are named."""


def shown(manifest: Manifest, path: RelPath) -> str:
    """The path, and in parentheses the snapshot's names that lead to it."""
    aliases = [name for name in _inside(manifest, path) if not path.endswith(name)]
    return f"{path} ({', '.join(aliases)})" if aliases else str(path)


def called(manifest: Manifest, path: RelPath) -> str:
    """The first of the snapshot's names that lead to the path; the path where none does."""
    return next(iter(_inside(manifest, path)), str(path))


def few(manifest: Manifest, entries: Sequence[Entry]) -> str:
    """What the first of them are called, and how many more there are."""
    first = ", ".join(called(manifest, entry.path) for entry in entries[:_NAMED])
    return f"{first} (and {len(entries) - _NAMED:,} more)" if len(entries) > _NAMED else first


def _inside(manifest: Manifest, path: RelPath) -> list[str]:
    names = {link.path: resolve_link(link.path, link.target) for link in manifest.links}
    leading = {path}
    for _ in range(2):  # a shared blob is two links away from the snapshot
        leading |= {link for link, target in names.items() if target in leading}
    return sorted(name.split("/snapshots/", 1)[1].split("/", 1)[-1] for name in leading if "/snapshots/" in name)

"""What people call a file: a blob's name says nothing, the snapshot's links to it do."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from zimage_syncd.model.manifest import Entry, Manifest
from zimage_syncd.model.path import RelPath, resolve_link

_NAMED = 3
"""How many of many are named."""


class Names:
    """The names of one manifest's files; where links lead is worked out when somebody asks for the first one.

    Safe to use from several threads.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._leading: Mapping[str, Sequence[str]] | None = None
        self._lock = threading.Lock()

    def shown(self, path: RelPath) -> str:
        """The path, and in parentheses the snapshot's names that lead to it."""
        aliases = [name for name in self._inside(path) if not path.endswith(name)]
        return f"{path} ({', '.join(aliases)})" if aliases else str(path)

    def called(self, path: RelPath) -> str:
        """The first of the snapshot's names that lead to the path; the path where none does."""
        return next(iter(self._inside(path)), str(path))

    def few(self, entries: Sequence[Entry]) -> str:
        """What the first of them are called, and how many more there are."""
        first = ", ".join(self.called(entry.path) for entry in entries[:_NAMED])
        return f"{first} (and {len(entries) - _NAMED:,} more)" if len(entries) > _NAMED else first

    def _inside(self, path: RelPath) -> list[str]:
        leading = self._links()
        paths = {str(path), *leading.get(path, ())}
        for link in tuple(paths):  # a shared blob is two links away from the snapshot
            paths.update(leading.get(link, ()))
        return sorted(name.split("/snapshots/", 1)[1].split("/", 1)[-1] for name in paths if "/snapshots/" in name)

    def _links(self) -> Mapping[str, Sequence[str]]:
        """Paths of links by where they lead."""
        with self._lock:
            if self._leading is None:
                found: dict[str, list[str]] = {}
                for link in self._manifest.links:
                    found.setdefault(resolve_link(link.path, link.target), []).append(link.path)
                self._leading = found
            return self._leading

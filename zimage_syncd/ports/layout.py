"""What the files of a library's cache mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from zimage_syncd.model.failures import Failure
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import LayoutName, LocalSnapshot, SnapshotKey


class Layout(Protocol):
    """What the files of a library's cache mean. Reads only."""

    @property
    def names(self) -> frozenset[LayoutName]:
        """The layouts that this one knows."""

    def find(
        self, root: str, linked_roots: tuple[str, ...], on_trouble: Callable[[Failure], None] = ...
    ) -> list[LocalSnapshot]:
        """All snapshots below a directory, complete or not, sorted by key.

        Args:
            root: absolute path of a cache directory.
            linked_roots: absolute paths of recorded stores; an absolute symlink into one of them is a file that was
                linked by `restore --mode symlink`. No other link is followed out of `root`.
            on_trouble: is told of a directory above the snapshots that cannot be listed, and the rest is found.

        Raises:
            PathUnreadable, DiskError: a directory cannot be listed, and nobody is told.
        """

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether a manifest of `key` may have an entry at `path`."""

    def directory(self, manifest: Manifest) -> RelPath:
        """What `from_pretrained` takes, from the cache directory."""

    def published(self, manifest: Manifest) -> Mapping[RelPath, str]:
        """Names in the hub's repository by the payload's paths; files that the library made itself have none."""

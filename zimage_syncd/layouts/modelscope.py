"""ModelScope's caches, read only (modelscope_hub 0.5, `_download.py`).

| layout | where |
| --- | --- |
| `modelscope` | `models/OWNER--NAME/snapshots/<revision>/PATH` (also `datasets/`, and `studios/` as spaces) |
| `modelscope-legacy` | `models/OWNER/NAME/PATH`, with `.` in NAME as `___` |
| `modelscope-hub-legacy` | `hub/models/OWNER/NAME/PATH`, the same |

All files are regular, and no digest or list is kept on disk: completeness is what the repository's own indexes tell,
and never more than that nothing seems to be missing. The old SDK's index files (`.msc`, `.mv`, `.mdl`) are carried as
they are; `.msc` and `.mdl` are pickles and never loaded. Anything temporary makes a snapshot incomplete, except parts
of a parallel download that were left beside the finished file: those are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from zimage_syncd.layouts.completeness import without_list
from zimage_syncd.layouts.modelscope_places import LEGACY, TEMPORARY, Place, base_of, places
from zimage_syncd.layouts.parts import part_of
from zimage_syncd.layouts.payload import Gatherer
from zimage_syncd.layouts.pipeline import Content
from zimage_syncd.layouts.published import published
from zimage_syncd.layouts.walk import Found, OnTrouble, refuse, shown, walk
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import LayoutName, LocalSnapshot, SnapshotKey

_UNFINISHED = "a download is unfinished"
_MAX_LEFT_OVER = 20
_INDEXES = frozenset({".msc", ".mv", ".mdl"})
"""What the old SDK writes beside the files of a snapshot (modelscope, hub/utils/caching.py)."""


@dataclass(slots=True)
class _Gathered:
    """What a snapshot's directory holds."""

    sizes_bytes: dict[str, int] = field(default_factory=dict)
    """Sizes of the payload by the names in the repository."""
    reasons: list[str] = field(default_factory=list)
    """What is wrong."""
    left_over: int = 0
    """Parts beside their finished file."""


class ModelScopeLayout:
    """A `ports.Layout` for ModelScope's caches, old and new."""

    @property
    def names(self) -> frozenset[LayoutName]:
        """All three."""
        return frozenset({LayoutName.MODELSCOPE, *LEGACY})

    def find(self, root: str, linked_roots: tuple[str, ...], on_trouble: OnTrouble = refuse) -> list[LocalSnapshot]:
        """All snapshots below `root`, complete or not, sorted by key.

        Args:
            root: absolute path of the cache directory; may be a symlink itself.
            linked_roots: absolute paths of recorded stores.
            on_trouble: is told of a directory above the snapshots that cannot be listed.

        Raises:
            PathUnreadable, DiskError: without `on_trouble`.
        """
        real_root = os.path.realpath(root)
        snapshots = (self._snapshot(real_root, place, linked_roots) for place in places(real_root, on_trouble))
        return sorted(snapshots, key=lambda snapshot: snapshot.key)

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether a manifest of `key` may have an entry at `path`."""
        return key.layout in self.names and path.is_below(base_of(key))

    def directory(self, manifest: Manifest) -> RelPath:
        """The snapshot's directory."""
        return RelPath(base_of(manifest.key))

    def published(self, manifest: Manifest) -> Mapping[RelPath, str]:
        """Names in the repository by the payload's paths; the old SDK's indexes have none."""
        return published(manifest, self.directory(manifest), _INDEXES)

    def _snapshot(self, root: str, place: Place, linked_roots: tuple[str, ...]) -> LocalSnapshot:
        gatherer = Gatherer(root, linked_roots, lambda path: path.startswith(f"{place.base}/"))
        gathered = _gather(root, place, gatherer)
        gathered.reasons.extend(_left_over(root, place))
        content = Content(gathered.sizes_bytes, lambda name: gatherer.open(RelPath(f"{place.base}/{name}")))
        why = "ModelScope keeps no list of a repository's files on disk"
        if gathered.left_over:
            why = f"{why}; {gathered.left_over} left-over parts of finished downloads were passed over"
        completeness = without_list(content, gathered.reasons, why)
        return LocalSnapshot(
            key=place.key,
            names=(place.key.revision,),
            directory=RelPath(place.base),
            files=gatherer.files.take_all(),
            links=gatherer.links.take_all(),
            pointers=(),
            completeness=completeness,
        )


def _gather(root: str, place: Place, gatherer: Gatherer) -> _Gathered:
    gathered = _Gathered()
    found = list(walk(f"{root}/{place.base}"))
    sizes = {item.name: item.size_bytes for item in found if item.is_file}
    for item in found:
        name = shown(item.name or place.base)
        if item.trouble:
            gathered.reasons.append(f"{name}: {item.trouble}")
            continue
        whole = part_of(item.name, sizes) if item.is_file else None
        if whole is not None and whole in sizes:
            gathered.left_over += 1
            continue
        trouble = _UNFINISHED if whole is not None else _private(item, place.base)
        if trouble:
            gathered.reasons.append(f"{name}: {trouble}")
            continue
        way = gatherer.follow(RelPath(f"{place.base}/{item.name}"), is_link=item.is_link)
        size_bytes = gatherer.keep(way, None)
        if size_bytes is None:
            gathered.reasons.append(f"{name}: {way.trouble}")
        else:
            gathered.sizes_bytes[item.name] = size_bytes
    return gathered


def _private(found: Found, base: str) -> str:
    try:
        return "" if private_part(RelPath(f"{base}/{found.name}")) is None else _UNFINISHED
    except UnsafePath as failure:
        return failure.detail


def _left_over(root: str, place: Place) -> list[str]:
    """What an interrupted download of the old SDK left in `._____temp` outside the snapshot's directory."""
    left = [found.name for directory in place.temporary for found in walk(f"{root}/{directory}")]
    return [f"{TEMPORARY}/{shown(name)}: {_UNFINISHED}" for name in left[:_MAX_LEFT_OVER]]

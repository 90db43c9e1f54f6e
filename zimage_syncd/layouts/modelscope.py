"""ModelScope's caches, read only (modelscope_hub 0.5, `_download.py`).

| layout | where |
| --- | --- |
| `modelscope` | `models/OWNER--NAME/snapshots/<revision>/PATH` (also `datasets/`) |
| `modelscope-legacy` | `models/OWNER/NAME/PATH`, with `.` in NAME as `___` |
| `modelscope-hub-legacy` | `hub/models/OWNER/NAME/PATH`, the same |

All files are regular, and no digest is kept on disk: completeness is what the repository's own indexes tell. The old
SDK's index files (`.msc`, `.mv`, `.mdl`) are carried as they are; `.msc` is a pickle and is never loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.layouts.payload import Gatherer
from zimage_syncd.layouts.pipeline import Content, judge
from zimage_syncd.layouts.walk import directories, read_small, walk
from zimage_syncd.model.failures import Failure, UnsafePath
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import (
    CannotTell,
    Completeness,
    Incomplete,
    LayoutName,
    LocalSnapshot,
    RepoId,
    RepoType,
    SnapshotKey,
)

_TYPES = {"models": RepoType.MODEL, "datasets": RepoType.DATASET}
_FOLDERS = {kind: folder for folder, kind in _TYPES.items()}
_LEGACY = {LayoutName.MODELSCOPE_LEGACY: "", LayoutName.MODELSCOPE_HUB_LEGACY: "hub/"}
_DEFAULT_REVISION = "master"
_PART = re.compile(r"(?P<stem>.+)_(?P<start>\d{1,20})_(?P<end>\d{1,20})")
_MIB = 2**20
_TEMPORARY = "._____temp"
_MV_REVISION = re.compile(r"Revision:(?P<revision>[\w./-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a snapshot lies."""

    key: SnapshotKey
    """Which."""
    base: str
    """Its directory, from the cache directory."""


class ModelScopeLayout:
    """A `ports.Layout` for ModelScope's caches, old and new."""

    @property
    def names(self) -> frozenset[LayoutName]:
        """All three."""
        return frozenset({LayoutName.MODELSCOPE, *_LEGACY})

    def find(self, root: str, linked_roots: tuple[str, ...]) -> list[LocalSnapshot]:
        """All snapshots below `root`, complete or not."""
        places = [*_new_places(root), *_legacy_places(root)]
        return sorted((_snapshot(root, place, linked_roots) for place in places), key=lambda snapshot: snapshot.key)

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether a manifest of `key` may have an entry at `path`."""
        return path.is_below(_base(key))

    def directory(self, manifest: Manifest) -> RelPath:
        """The snapshot's directory."""
        return RelPath(_base(manifest.key))


def _base(key: SnapshotKey) -> str:
    folder = _FOLDERS.get(key.repo.type, f"{key.repo.type}s")
    if key.layout is LayoutName.MODELSCOPE:
        return f"{folder}/{key.repo.name.replace('/', '--')}/snapshots/{key.revision}"
    owner, _, name = key.repo.name.rpartition("/")
    return f"{_LEGACY.get(key.layout, '')}{folder}/{owner}/{name.replace('.', '___')}"


def _new_places(root: str) -> Iterator[_Place]:
    for folder, kind in _TYPES.items():
        for name in directories(f"{root}/{folder}"):
            if "--" not in name:
                continue
            for revision in directories(f"{root}/{folder}/{name}/snapshots"):
                key = _key(LayoutName.MODELSCOPE, kind, name.replace("--", "/", 1), revision)
                if key is not None:
                    yield _Place(key, f"{folder}/{name}/snapshots/{revision}")


def _legacy_places(root: str) -> Iterator[_Place]:
    for layout, prefix in _LEGACY.items():
        for folder, kind in _TYPES.items():
            for owner in directories(f"{root}/{prefix}{folder}"):
                if "--" in owner or private_part(owner) is not None:
                    continue
                for name in directories(f"{root}/{prefix}{folder}/{owner}"):
                    base = f"{prefix}{folder}/{owner}/{name}"
                    repo = f"{owner}/{name.replace('___', '.')}"
                    key = _key(layout, kind, repo, _legacy_revision(f"{root}/{base}"))
                    if private_part(base) is None and key is not None and _base(key) == base:
                        yield _Place(key, base)


def _key(layout: LayoutName, kind: RepoType, repo: str, revision: str) -> SnapshotKey | None:
    try:
        return SnapshotKey(layout, RepoId(kind, repo), revision)
    except Failure:
        return None  # no hub gives such a name


def _legacy_revision(directory: str) -> str:
    """The revision that the old SDK wrote into `.mv` (`Revision:master,CreatedAt:…`); `master` where there is none."""
    data = read_small(f"{directory}/.mv", 4096)
    match = None if data is None else _MV_REVISION.search(data.decode("utf-8", "replace"))
    return _DEFAULT_REVISION if match is None else match["revision"]


def _snapshot(root: str, place: _Place, linked_roots: tuple[str, ...]) -> LocalSnapshot:
    gatherer = Gatherer(root, linked_roots)
    payload: dict[str, RelPath] = {}
    reasons = _gather(root, place, gatherer, payload)
    if place.key.layout is LayoutName.MODELSCOPE:
        reasons.extend(_left_over(root, place))
    content = Content(
        {name: gatherer.files[path].size_bytes for name, path in payload.items()},
        lambda name: gatherer.open(payload[name]),
    )
    return LocalSnapshot(
        key=place.key,
        names=(place.key.revision,),
        directory=RelPath(place.base),
        files=tuple(gatherer.files[path] for path in sorted(gatherer.files)),
        links=tuple(gatherer.links[path] for path in sorted(gatherer.links)),
        pointers=(),
        completeness=_completeness(content, reasons),
    )


def _gather(root: str, place: _Place, gatherer: Gatherer, payload: dict[str, RelPath]) -> list[str]:
    reasons: list[str] = []
    found = list(walk(f"{root}/{place.base}"))
    present = {item.name for item in found}
    for item in found:
        try:
            path = RelPath(f"{place.base}/{item.name}")
        except UnsafePath as failure:
            reasons.append(str(failure))
            continue
        if private_part(path) is not None or _is_part(item.name, item.size_bytes, present):
            if "/.lock/" not in f"/{item.name}":
                reasons.append(f"{item.name}: a download is unfinished")
            continue
        way, trouble = gatherer.follow(path)
        if trouble is None and not way[-1].is_below(place.base):
            trouble = f"{path} leads out of the snapshot"
        if trouble is not None:
            reasons.append(f"{item.name}: {trouble}")
            continue
        gatherer.keep(way[-1], None)
        payload[item.name] = way[-1]
    return reasons


def _is_part(name: str, size_bytes: int, present: set[str]) -> bool:
    """Whether it is a part of an unfinished parallel download, `<file>_<start>_<end>`.

    A repository's own `data_0_100` is none: parts begin at multiples of 1 MiB, hold no more than they claim, and their
    file is not there yet.
    """
    match = _PART.fullmatch(name)
    if match is None or match["stem"] in present:
        return False
    start, end = int(match["start"]), int(match["end"])
    return start % _MIB == 0 and start <= end and size_bytes <= end - start + 1 and end - start + 1 >= _MIB


def _left_over(root: str, place: _Place) -> list[str]:
    """What an interrupted download left in `._____temp` beside the snapshots."""
    repository = place.base.rsplit("/snapshots/", 1)[0]
    left = [found.name for found in walk(f"{root}/{repository}/{_TEMPORARY}")]
    return [f"{_TEMPORARY}/{name}: a download is unfinished" for name in left[:5]]


def _completeness(content: Content, reasons: list[str]) -> Completeness:
    judgement = judge(content)
    reasons = [*reasons, *judgement.reasons]
    if not content.sizes_bytes and not reasons:
        reasons.append("the snapshot holds no file")
    if reasons:
        return Incomplete(tuple(dict.fromkeys(reasons)))
    checked = (f"{len(content.sizes_bytes)} files", *judgement.checked)
    return CannotTell(checked, ("ModelScope keeps no list of a repository's files on disk",), judgement.satisfied)

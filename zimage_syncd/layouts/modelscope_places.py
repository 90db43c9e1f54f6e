"""Where ModelScope's snapshots lie, in its present layout and in both old ones (modelscope_hub 0.5, `_download.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.layouts.walk import OnTrouble, directories, entries, read_small
from zimage_syncd.model.failures import Failure
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

TEMPORARY = "._____temp"
"""Where the old SDK downloaded to (modelscope_hub/constants.py: TEMPORARY_FOLDER_NAME)."""

LEGACY = {LayoutName.MODELSCOPE_LEGACY: "", LayoutName.MODELSCOPE_HUB_LEGACY: "hub/"}
"""What lies before `models/OWNER/NAME` in the old layouts."""

_FOLDERS = {RepoType.MODEL: "models", RepoType.DATASET: "datasets", RepoType.SPACE: "studios"}
_DEFAULT_REVISION = "master"
_MV_REVISION = re.compile(r"(?:Revision:)?(?P<revision>[\w./+-]{1,255})(?:,.*)?", re.ASCII | re.DOTALL)
_MAX_REVISION_DEPTH = 4
_AT_THE_ROOT = frozenset({".gitattributes", "README.md", "configuration.json", "config.json", "model_index.json"})
"""Every repository of ModelScope has one of these."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a snapshot lies."""

    key: SnapshotKey
    """Which."""
    base: str
    """Its directory, from the cache directory."""
    temporary: tuple[str, ...]
    """Directories in which its unfinished downloads may lie, from the cache directory."""


def base_of(key: SnapshotKey) -> str:
    """A snapshot's directory, from the cache directory."""
    folder = _FOLDERS[key.repo.type]
    if key.layout is LayoutName.MODELSCOPE:
        return f"{folder}/{key.repo.name.replace('/', '--')}/snapshots/{key.revision}"
    owner, _, name = key.repo.name.rpartition("/")
    return f"{LEGACY.get(key.layout, '')}{folder}/{owner}/{name.replace('.', '___')}"


def places(root: str, on_trouble: OnTrouble) -> Iterator[Place]:
    """All snapshots of a cache directory; `on_trouble` is told of a directory that cannot be listed."""
    for kind, folder in _FOLDERS.items():
        yield from _present(root, kind, folder, on_trouble)
        for layout, prefix in LEGACY.items():
            yield from _legacy(root, layout, kind, f"{prefix}{folder}", on_trouble)


def _present(root: str, kind: RepoType, folder: str, on_trouble: OnTrouble) -> Iterator[Place]:
    for name in directories(f"{root}/{folder}", on_trouble):
        if "--" not in name:
            continue
        for revision in _revisions(f"{root}/{folder}/{name}/snapshots", on_trouble):
            key = _key(LayoutName.MODELSCOPE, kind, name.replace("--", "/", 1), revision)
            if key is not None:
                yield Place(key, base_of(key), (f"{folder}/{name}/{TEMPORARY}",))


def _revisions(directory: str, on_trouble: OnTrouble, prefix: str = "", depth: int = 1) -> Iterator[str]:
    """Revisions below `snapshots`. A branch `feature/x` lies deeper: there the outer directory holds no file."""
    for name in directories(directory, on_trouble):
        inner = f"{directory}/{name}"
        try:
            deeper = [child for child in directories(inner) if _is_repository(f"{inner}/{child}")]
            only_directories = all(entry.is_dir(follow_symlinks=False) for entry in entries(inner))
        except Failure as failure:
            on_trouble(failure)
            continue
        if deeper and only_directories and depth < _MAX_REVISION_DEPTH:
            yield from _revisions(inner, on_trouble, f"{prefix}{name}/", depth + 1)
        else:
            yield f"{prefix}{name}"


def _is_repository(directory: str) -> bool:
    return any(entry.name in _AT_THE_ROOT for entry in entries(directory))


def _legacy(root: str, layout: LayoutName, kind: RepoType, folder: str, on_trouble: OnTrouble) -> Iterator[Place]:
    for owner in directories(f"{root}/{folder}", on_trouble):
        if "--" in owner or private_part(owner) is not None:
            continue
        for name in directories(f"{root}/{folder}/{owner}", on_trouble):
            base = f"{folder}/{owner}/{name}"
            dotted = name.replace("___", ".")
            key = _key(layout, kind, f"{owner}/{dotted}", _legacy_revision(f"{root}/{base}"))
            if private_part(base) is None and key is not None and base_of(key) == base:
                temporary = dict.fromkeys(f"{folder}/{TEMPORARY}/{owner}/{end}" for end in (name, dotted))
                yield Place(key, base, tuple(temporary))


def _key(layout: LayoutName, kind: RepoType, repo: str, revision: str) -> SnapshotKey | None:
    try:
        return SnapshotKey(layout, RepoId(kind, repo), revision)
    except Failure:
        return None  # no hub gives such a name


def _legacy_revision(directory: str) -> str:
    """The revision that the old SDK wrote into `.mv` (`Revision:master,CreatedAt:…`); `master` where there is none."""
    data = read_small(f"{directory}/.mv", 4096)
    match = None if data is None else _MV_REVISION.fullmatch(data.decode("utf-8", "replace").strip())
    return _DEFAULT_REVISION if match is None else match["revision"]

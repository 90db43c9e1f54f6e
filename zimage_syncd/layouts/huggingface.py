"""Hugging Face's cache: `[hub/]models--ORG--NAME/{blobs,refs,snapshots,trees,.no_exist}`, read only.

Every `snapshots/<commit>` is a snapshot of its own, with the blobs that it uses; revisions may share them. A shared
blob's payload lies outside the repository, in `[hub/]blobs/<xx>/<xet_hash>`; the books beside it (`.refs`, `.lock`, the
marker) are the library's own and never part of a snapshot. See `layouts/completeness.py` for the three answers.

Without `trees/<commit>.json` nobody can tell which commit an unfinished download belongs to; then it makes every
snapshot of its repository incomplete. One that is left beside its finished blob does no harm.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping

from zimage_syncd.layouts.completeness import with_list, without_list
from zimage_syncd.layouts.payload import Gatherer, Way
from zimage_syncd.layouts.pipeline import Content
from zimage_syncd.layouts.published import published
from zimage_syncd.layouts.repository import PREFIXES, Repository, folder_name, repositories
from zimage_syncd.layouts.trees import Listed, Tree, digest_of_blob_name, read_tree
from zimage_syncd.layouts.walk import Found, OnTrouble, refuse, shown, walk
from zimage_syncd.model.failures import Failure, UnsafePath
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import (
    Completeness,
    ExpectedDigest,
    Incomplete,
    LayoutName,
    LocalSnapshot,
    SnapshotKey,
)

_SNAPSHOTS = 64
"""For which it is remembered where they may have something."""


class HuggingFaceLayout:
    """A `ports.Layout` for Hugging Face's cache."""

    @property
    def names(self) -> frozenset[LayoutName]:
        """The one layout."""
        return frozenset({LayoutName.HUGGINGFACE})

    def find(self, root: str, linked_roots: tuple[str, ...], on_trouble: OnTrouble = refuse) -> list[LocalSnapshot]:
        """All snapshots of all repositories below `root`, complete or not, sorted by key.

        A commit that lies both below `hub/` and directly below `root` is given once: from `hub/`, unless that one is
        incomplete.

        Args:
            root: absolute path of the cache directory; may be a symlink itself.
            linked_roots: absolute paths of recorded stores.
            on_trouble: is told of a directory above the snapshots that cannot be listed.

        Raises:
            PathUnreadable, DiskError: without `on_trouble`.
        """
        found: dict[SnapshotKey, LocalSnapshot] = {}
        for repository in repositories(os.path.realpath(root), on_trouble):
            references = repository.references()
            for commit in repository.commits(on_trouble):
                snapshot = self._snapshot(repository, commit, references, linked_roots)
                earlier = found.get(snapshot.key)
                if earlier is None or isinstance(earlier.completeness, Incomplete):
                    found[snapshot.key] = snapshot
        return sorted(found.values(), key=lambda snapshot: snapshot.key)

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether a manifest of `key` may have an entry at `path`."""
        if key.layout is not LayoutName.HUGGINGFACE:
            return False
        return _places(folder_name(key.repo), key.revision).fullmatch(path) is not None

    def directory(self, manifest: Manifest) -> RelPath:
        """`[hub/]models--ORG--NAME/snapshots/<commit>`."""
        folder = folder_name(manifest.key.repo)
        in_hub = any(entry.path.startswith("hub/") for entry in manifest.entries)
        return RelPath(f"{'hub/' if in_hub else ''}{folder}/snapshots/{manifest.key.revision}")

    def published(self, manifest: Manifest) -> Mapping[RelPath, str]:
        """Names in the repository by the paths of blobs, shared ones included, and of files without blobs."""
        return published(manifest, self.directory(manifest))

    def _snapshot(
        self, repository: Repository, commit: str, references: Mapping[str, str], linked_roots: tuple[str, ...]
    ) -> LocalSnapshot:
        key = SnapshotKey(LayoutName.HUGGINGFACE, repository.repo, commit)
        has_list, tree_text = repository.tree(commit)
        tree = None if tree_text is None else read_tree(tree_text, f"trees/{commit}.json")
        gatherer = Gatherer(repository.root, linked_roots, _places(folder_name(key.repo), commit).fullmatch)
        sizes_bytes, reasons = _gather(repository, commit, tree, gatherer)
        own = {name: text for name, text in references.items() if text.strip() == commit}
        directory = RelPath(f"{repository.base}/snapshots/{commit}")
        content = Content(sizes_bytes, lambda name: gatherer.open(directory.child(name)))
        completeness = _completeness(repository, content, reasons, tree, has_list=has_list)
        del tree, content, sizes_bytes  # with 100,000 files each is tens of megabytes
        return LocalSnapshot(
            key=key,
            names=tuple(sorted(own)) or (commit,),
            directory=directory,
            files=gatherer.files.take_all(),
            links=gatherer.links.take_all(),
            pointers=repository.pointers(commit, own, tree_text),
            completeness=completeness,
        )


@functools.lru_cache(_SNAPSHOTS)
def _places(folder: str, commit: str) -> re.Pattern[str]:
    """Where a snapshot may have something: asked for each of 100,000 files."""
    name = re.escape(commit)
    own = rf"snapshots/{name}/.*|\.no_exist/{name}/.*|refs/.*|trees/{name}\.json|blobs/[^/.]+"
    prefixes = "|".join(map(re.escape, PREFIXES))
    return re.compile(rf"(?:hub/)?blobs/[0-9a-f]{{2}}/[^/.]+|(?:{prefixes}){re.escape(folder)}/(?:{own})", re.DOTALL)


def _gather(
    repository: Repository, commit: str, tree: Tree | None, gatherer: Gatherer
) -> tuple[dict[str, int], list[str]]:
    """Sizes of the payload by the names in the repository, in bytes, and what is wrong."""
    base, blobs = f"{repository.base}/snapshots/{commit}", f"{repository.base}/blobs"
    sizes_bytes: dict[str, int] = {}
    reasons: list[str] = []
    for found in walk(f"{repository.root}/{base}"):
        try:
            path = RelPath(f"{base}/{found.name}")
        except UnsafePath as failure:
            reasons.append(f"{shown(found.name or base)}: {found.trouble or failure.detail}")
            continue
        trouble = found.trouble or _temporary(found, path)
        if trouble:
            reasons.append(f"{shown(found.name or base)}: {trouble}")
            continue
        way = gatherer.follow(path, is_link=found.is_link)
        listed = None if tree is None else tree.get(found.name)
        expected, contradiction = _expected(blobs, way, listed)
        contradiction = contradiction or gatherer.contradiction(way, expected)
        size_bytes = None if contradiction else gatherer.keep(way, expected)
        if size_bytes is None:
            reasons.append(f"{shown(found.name)}: {way.trouble or contradiction}")
            continue
        sizes_bytes[found.name] = size_bytes
        if tree is not None:
            tree.tick_off(found.name)
        if listed is not None and listed.size_bytes != size_bytes:
            reasons.append(f"{shown(found.name)}: {size_bytes} bytes, its publisher lists {listed.size_bytes}")
    return sizes_bytes, reasons


def _temporary(found: Found, path: RelPath) -> str:
    """Temporary files lie there only in caches without symlinks, where downloads are moved into `snapshots`."""
    unfinished = found.name.endswith((".incomplete", ".tmp")) and found.is_file
    return "a temporary file is left" if unfinished or private_part(path) is not None else ""


def _expected(blobs: str, way: Way, listed: Listed | None) -> tuple[ExpectedDigest | None, str | None]:
    """What the payload must hash to: the tree's word first, else the blob's name; and their contradiction."""
    said = None if listed is None else listed.expected
    blob = None
    for path in way.passed:
        directory, _, name = path.rpartition("/")
        if directory == blobs:
            blob = name
            break
    if said is not None and said.hex == blob:
        return said, None
    named = None if blob is None else digest_of_blob_name(blob)
    if named is not None and said is not None and named.algorithm is said.algorithm and named.hex != said.hex:
        return said, f"it leads to blob {named.hex}, {said.source} lists {said.hex}"
    return said or named, None


def _completeness(
    repository: Repository,
    content: Content,
    reasons: list[str],
    tree: Tree | None,
    *,
    has_list: bool,
) -> Completeness:
    try:
        unfinished = repository.unfinished()
    except Failure as failure:
        unfinished, reasons = [], [*reasons, f"blobs: cannot be listed: {failure.detail}"]
    if tree is not None:
        return with_list(content, reasons, tree, unfinished)
    begun = [f"blobs/{shown(name)}: a download is unfinished" for name in unfinished]
    why = "cannot be understood" if has_list else "is not there"
    return without_list(content, [*reasons, *begun], f"trees/<commit>.json {why}: it would list what belongs here")

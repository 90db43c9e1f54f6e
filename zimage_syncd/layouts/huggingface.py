"""Hugging Face's cache: `hub/models--ORG--NAME/{blobs,refs,snapshots,trees,.no_exist}`, read only.

Completeness has three answers. *Complete*: `trees/<commit>.json` lists the commit's files, what is there agrees with
it, and what is absent is needed by no index (a download may have asked for a part only). *Incomplete*: something is
missing, temporary, or does not fit. *Cannot tell*: no list is there to compare with; huggingface_hub takes that for a
hit. The books of shared blobs (`.refs`, `.lock`, the marker) are never part of a snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from zimage_syncd.layouts.payload import Gatherer
from zimage_syncd.layouts.pipeline import Content, judge
from zimage_syncd.layouts.trees import Listed, digest_of_blob_name, read_tree
from zimage_syncd.layouts.walk import directories, entries, read_small, walk
from zimage_syncd.model.failures import Failure, UnsafePath
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import (
    CannotTell,
    Complete,
    Completeness,
    ExpectedDigest,
    Incomplete,
    LayoutName,
    LocalPointer,
    LocalSnapshot,
    RepoId,
    RepoType,
    SnapshotKey,
)

_PREFIXES = ("hub/", "")
"""The cache directory is HF_HOME, or HF_HUB_CACHE itself."""

_TYPES = {"models": RepoType.MODEL, "datasets": RepoType.DATASET, "spaces": RepoType.SPACE}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARED = re.compile(r"(?:hub/)?blobs/[0-9a-f]{2}/[^/.]+")
_MAX_REF_BYTES = 1024
_MAX_TREE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class _Repository:
    """One repository's directory."""

    root: str
    """The cache directory."""
    base: str
    """From the cache directory: `[hub/]models--ORG--NAME`."""
    repo: RepoId
    """Its name."""

    @property
    def directory(self) -> str:
        """Absolute."""
        return f"{self.root}/{self.base}"


class HuggingFaceLayout:
    """A `ports.Layout` for Hugging Face's cache."""

    @property
    def names(self) -> frozenset[LayoutName]:
        """The one layout."""
        return frozenset({LayoutName.HUGGINGFACE})

    def find(self, root: str, linked_roots: tuple[str, ...]) -> list[LocalSnapshot]:
        """All snapshots of all repositories below `root`, complete or not."""
        found: list[LocalSnapshot] = []
        for repository in _repositories(root):
            refs = _refs(repository)
            commits = filter(_COMMIT.fullmatch, directories(f"{repository.directory}/snapshots"))
            found.extend(_snapshot(repository, commit, refs, linked_roots) for commit in commits)
        return sorted(found, key=lambda snapshot: snapshot.key)

    def owns(self, key: SnapshotKey, path: RelPath) -> bool:
        """Whether a manifest of `key` may have an entry at `path`."""
        if _SHARED.fullmatch(path):
            return True
        folder = folder_name(key.repo)
        inside = next(
            (path.removeprefix(f"{prefix}{folder}/") for prefix in _PREFIXES if _below(path, prefix, folder)), ""
        )
        own = (f"snapshots/{key.revision}/", f".no_exist/{key.revision}/", "refs/")
        blob = inside.startswith("blobs/") and inside.count("/") == 1 and "." not in inside
        return blob or inside == f"trees/{key.revision}.json" or inside.startswith(own)

    def directory(self, manifest: Manifest) -> RelPath:
        """`[hub/]models--ORG--NAME/snapshots/<commit>`."""
        folder = folder_name(manifest.key.repo)
        in_hub = any(entry.path.startswith("hub/") for entry in manifest.entries)
        return RelPath(f"{'hub/' if in_hub else ''}{folder}/snapshots/{manifest.key.revision}")


def folder_name(repo: RepoId) -> str:
    """`models--ORG--NAME` (huggingface_hub, `repo_folder_name`)."""
    return "--".join([f"{repo.type}s", *repo.name.split("/")])


def _below(path: RelPath, prefix: str, folder: str) -> bool:
    return path.startswith(f"{prefix}{folder}/")


def _repositories(root: str) -> Iterator[_Repository]:
    for prefix in _PREFIXES:
        for name in directories(f"{root}/{prefix}".rstrip("/")):
            kind, _, rest = name.partition("--")
            if kind not in _TYPES or not rest or rest.count("--") > 1:
                continue
            try:
                yield _Repository(root, prefix + name, RepoId(_TYPES[kind], rest.replace("--", "/")))
            except Failure:
                continue  # no hub gives such a name


def _refs(repository: _Repository) -> dict[str, str]:
    """Commits by the names (branches, tags, refs/pr/N) that point to them."""
    refs = {}
    for found in walk(f"{repository.directory}/refs"):
        data = read_small(f"{repository.directory}/refs/{found.name}", _MAX_REF_BYTES)
        commit = "" if data is None else data.decode("ascii", "replace").strip()
        if _COMMIT.fullmatch(commit) and private_part(f"refs/{found.name}") is None:
            refs[found.name] = commit
    return refs


def _snapshot(
    repository: _Repository, commit: str, refs: Mapping[str, str], linked_roots: tuple[str, ...]
) -> LocalSnapshot:
    tree_path = f"{repository.base}/trees/{commit}.json"
    tree_data = read_small(f"{repository.root}/{tree_path}", _MAX_TREE_BYTES)
    tree = None if tree_data is None else read_tree(tree_data, f"trees/{commit}.json")
    gatherer = Gatherer(repository.root, linked_roots)
    payload, reasons = _gather(repository, commit, tree, gatherer)
    names = tuple(sorted(name for name, target in refs.items() if target == commit))
    pointers = _pointers(repository, commit, names, tree_path, tree_data)
    content = Content(
        {name: gatherer.files[path].size_bytes for name, path in payload.items()},
        lambda name: gatherer.open(payload[name]),
    )
    key = SnapshotKey(LayoutName.HUGGINGFACE, repository.repo, commit)
    return LocalSnapshot(
        key=key,
        names=names or (commit,),
        directory=RelPath(f"{repository.base}/snapshots/{commit}"),
        files=tuple(gatherer.files[path] for path in sorted(gatherer.files)),
        links=tuple(gatherer.links[path] for path in sorted(gatherer.links)),
        pointers=pointers,
        completeness=_completeness(repository, content, tree, reasons),
    )


def _gather(
    repository: _Repository, commit: str, tree: Mapping[str, Listed] | None, gatherer: Gatherer
) -> tuple[dict[str, RelPath], list[str]]:
    """Payload paths by the names in the repository, and what is wrong."""
    base = f"{repository.base}/snapshots/{commit}"
    payload: dict[str, RelPath] = {}
    reasons: list[str] = []
    for found in walk(f"{repository.root}/{base}"):
        try:
            path = RelPath(f"{base}/{found.name}")
        except UnsafePath as failure:
            reasons.append(str(failure))
            continue
        if private_part(path) is not None or _unfinished(found.name, is_link=found.is_link):
            reasons.append(f"{found.name}: a temporary file is left")
            continue
        way, trouble = gatherer.follow(path)
        listed = None if tree is None else tree.get(found.name)
        expected, contradiction = _expected(way, listed)
        trouble = trouble or contradiction
        if trouble is not None:
            reasons.append(f"{found.name}: {trouble}")
            continue
        file = gatherer.keep(way[-1], expected)
        payload[found.name] = way[-1]
        if listed is not None and listed.size_bytes != file.size_bytes:
            reasons.append(f"{found.name}: {file.size_bytes} bytes, its publisher lists {listed.size_bytes}")
    return payload, reasons


def _unfinished(name: str, *, is_link: bool) -> bool:
    return not is_link and name.endswith((".incomplete", ".tmp"))


def _expected(way: list[RelPath], listed: Listed | None) -> tuple[ExpectedDigest | None, str | None]:
    """What the payload must hash to: the tree's word first, else the blob's name; and their contradiction."""
    blob = next((path for path in way if path.parts[-2:-1] == ("blobs",)), None)
    named = None if blob is None else digest_of_blob_name(blob.name)
    said = None if listed is None else listed.expected
    if named is not None and said is not None and named.algorithm is said.algorithm and named.hex != said.hex:
        return said, f"it leads to blob {named.hex}, {said.source} lists {said.hex}"
    return said or named, None


def _pointers(
    repository: _Repository, commit: str, names: tuple[str, ...], tree_path: str, tree_data: bytes | None
) -> tuple[LocalPointer, ...]:
    texts = {f"{repository.base}/refs/{name}": commit for name in names}
    if tree_data is not None:
        texts[tree_path] = tree_data.decode("utf-8", "replace")
    for found in walk(f"{repository.directory}/.no_exist/{commit}"):
        if found.is_file and found.size_bytes == 0:
            texts[f"{repository.base}/.no_exist/{commit}/{found.name}"] = ""
    return tuple(LocalPointer(RelPath(path), texts[path]) for path in sorted(texts))


def _completeness(
    repository: _Repository, content: Content, tree: Mapping[str, Listed] | None, reasons: list[str]
) -> Completeness:
    judgement = judge(content)
    reasons = [*reasons, *judgement.reasons]
    absent = [] if tree is None else sorted(set(tree) - set(content.sizes_bytes))
    unfinished = _unfinished_blobs(repository)
    reasons.extend(_absent_weights(content, absent))
    if tree is None:
        reasons.extend(f"blobs/{name}: a download is unfinished" for name in unfinished)
    elif absent:
        wanted = {listed.expected.hex for name in absent if (listed := tree[name]).expected is not None}
        reasons.extend(f"blobs/{name}: a download is unfinished" for name in unfinished if name.split(".")[0] in wanted)
    if not content.sizes_bytes and not reasons:
        reasons.append("the snapshot holds no file")
    if reasons:
        return Incomplete(tuple(dict.fromkeys(reasons)))
    checked = (f"{len(content.sizes_bytes)} files", *judgement.checked)
    if tree is None:
        return CannotTell(checked, ("no trees/<commit>.json lists what belongs to the commit",), judgement.satisfied)
    if not absent:
        return Complete((*checked, f"sizes and names of all {len(tree)} listed files"))
    if judgement.satisfied:
        return Complete((*checked, f"{len(absent)} listed files were never asked for, and no index needs them"))
    detail = f"{len(absent)} of {len(tree)} listed files are absent, such as {absent[0]}, and no index tells why"
    return CannotTell(checked, (detail,), satisfied=False)


def _unfinished_blobs(repository: _Repository) -> list[str]:
    """Downloads under way or left over whose finished blob is not there."""
    present = {entry.name for entry in entries(f"{repository.directory}/blobs")}
    return sorted(name for name in present if name.endswith(".incomplete") and name.split(".", 1)[0] not in present)


def _absent_weights(content: Content, absent: list[str]) -> list[str]:
    """Listed weights that are absent where nothing else of their directory could take their place."""
    reasons = []
    for name in absent:
        directory = name.rpartition("/")[0]
        if not name.endswith((".safetensors", ".bin")):
            continue
        beside = [other for other in content.sizes_bytes if other.rpartition("/")[0] == directory]
        weights = any(other.endswith((".safetensors", ".bin", ".gguf")) for other in beside)
        if beside and not weights:
            reasons.append(f"{name}: is missing; its publisher lists it, and nothing beside it has weights")
    return reasons

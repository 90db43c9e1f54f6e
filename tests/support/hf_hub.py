"""A Hugging Face hub on 127.0.0.1 for the real client (huggingface_hub 2.4: `hf_api.py`, `file_download.py`).

Models, datasets and spaces with branches, tags and pull requests; LFS files (their ETag is the sha256) and small git
files (git's blob SHA-1); listings, metadata, ranges, and the hub's three kinds of 404. It offers no Xet: clients
download over plain HTTP.

    with LoopbackHfHub({"org/name": {"config.json": b"{}"}}) as hub:
        commit = hub.commit("org/name", {...}, "refs/pr/1")
        ... HF_ENDPOINT=hub.endpoint ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.support.loopback import Answer, LoopbackServer, Request, json_answer

LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".parquet", ".onnx", ".pt", ".msgpack")
_KINDS = ("models", "datasets", "spaces")


def git_blob(data: bytes) -> str:
    """Git's name for a blob of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def etag(name: str, data: bytes) -> str:
    """What the cache calls the blob."""
    return hashlib.sha256(data).hexdigest() if name.endswith(LFS_SUFFIXES) else git_blob(data)


@dataclass(slots=True)
class _Repository:
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by commit."""
    references: dict[str, str] = field(default_factory=dict)
    """Commits by branch, tag, or refs/pr/N."""

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.files else self.references.get(revision)


class LoopbackHfHub(LoopbackServer):
    """Serves repositories while its block runs; their names are `ORG/NAME`, `datasets/ORG/NAME`, `spaces/ORG/NAME`."""

    def __init__(self, repos: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        super().__init__()
        self._repositories: dict[str, _Repository] = {}
        for name, files in (repos or {}).items():
            self.commit(name, files)

    def commit(self, repo: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """Publishes a tree of files and lets a branch point at it; returns the commit, which depends on both."""
        repository = self._repositories.setdefault(_full(repo), _Repository())
        digest = hashlib.sha1(f"{repo} {repository.references.get(revision)}".encode(), usedforsecurity=False)
        for name, data in sorted(files.items()):
            digest.update(f"{name} {git_blob(data)}\n".encode())
        commit = digest.hexdigest()
        repository.files[commit] = dict(files)
        repository.references[revision] = commit
        return commit

    def tag(self, repo: str, tag: str, commit: str) -> None:
        """Lets a tag, or a branch, point at a commit."""
        self._repositories[_full(repo)].references[tag] = commit

    def head(self, repo: str, revision: str = "main") -> str:
        """The commit that a branch or tag points at."""
        return self._repositories[_full(repo)].references[revision]

    def answer(self, request: Request) -> Answer:
        """The API, or a file."""
        parts = request.raw_path.strip("/").split("/")
        if parts[0] == "api" and len(parts) >= 4 and parts[1] in _KINDS:
            repository = self._repositories.get("/".join(parts[1:4]))
            return _missing("RepoNotFound") if repository is None else _api(repository, parts, request)
        if parts[0] not in _KINDS:
            parts.insert(0, "models")
        if len(parts) < 6 or parts[3] != "resolve":
            return Answer(404)
        repository = self._repositories.get("/".join(parts[:3]))
        if repository is None:
            return _missing("RepoNotFound")
        return _file(repository, unquote(parts[4]), unquote("/".join(parts[5:])))


def _full(repo: str) -> str:
    return repo if repo.split("/", maxsplit=1)[0] in _KINDS else f"models/{repo}"


def _missing(code: str, commit: str = "") -> Answer:
    return json_answer({"error": code}, {"X-Error-Code": code, **({"X-Repo-Commit": commit} if commit else {})}, 404)


def _api(repository: _Repository, parts: list[str], request: Request) -> Answer:
    action = parts[4] if len(parts) > 4 else "revision"
    if action == "refs":
        refs = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repository.references.items()]
        return json_answer({"branches": refs, "tags": [], "converts": []})
    commit = repository.resolve(unquote(parts[5]) if len(parts) > 5 else "main")
    if commit is None:
        return _missing("RevisionNotFound")
    files = repository.files[commit]
    if action == "tree":
        below = unquote("/".join(parts[6:]))
        names = [name for name in sorted(files) if not below or name.startswith(f"{below}/")]
        return json_answer([_tree_entry(name, files[name]) for name in names], {"X-Repo-Commit": commit})
    if action == "revision":
        siblings = [{"rfilename": name} for name in sorted(files)]
        name = "/".join(parts[2:4])
        return json_answer({"_id": commit[:24], "id": name, "sha": commit, "private": False, "siblings": siblings})
    return Answer(404)


def _tree_entry(name: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": git_blob(data)}
    if name.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _file(repository: _Repository, revision: str, name: str) -> Answer:
    commit = repository.resolve(revision)
    if commit is None:
        return _missing("RevisionNotFound")
    data = repository.files[commit].get(name)
    if data is None:
        return _missing("EntryNotFound", commit)
    headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(name, data)}"', "Content-Type": "application/octet-stream"}
    if name.endswith(LFS_SUFFIXES):
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(data))}
    return Answer(200, data, headers, file=name)

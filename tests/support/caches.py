"""Caches as the libraries lay them out, written by hand; the tests with the real clients are in tests/real."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def etag_of(name: str, data: bytes) -> str:
    """A blob's name: sha256 for LFS files, git's blob SHA-1 for small ones."""
    if name.endswith((".safetensors", ".bin")):
        return hashlib.sha256(data).hexdigest()
    return _git_name(data)


def _git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def hf_snapshot(
    root: Path,
    files: Mapping[str, bytes],
    *,
    repo: str = "org/name",
    commit: str = COMMIT,
    refs: tuple[str, ...] = ("main",),
    trees: bool = True,
    kind: str = "models",
) -> Path:
    """Writes a classic Hugging Face snapshot below `root`/hub; returns the repository's directory."""
    base = root / "hub" / f"{kind}--{repo.replace('/', '--')}"
    listed = {}
    for name, data in files.items():
        etag = etag_of(name, data)
        blob = base / "blobs" / etag
        blob.parent.mkdir(parents=True, exist_ok=True)
        if not blob.exists():
            blob.write_bytes(data)
        link = base / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../" * (name.count("/") + 2) + f"blobs/{etag}")
        listed[name] = {"size": len(data), "blob_id": etag}
        if len(etag) == 64:
            # What git has of it: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{etag}\nsize {len(data)}\n"
            listed[name] |= {"blob_id": _git_name(pointer.encode()), "lfs_sha256": etag, "lfs_size": len(data)}
    if trees:
        tree = base / "trees" / f"{commit}.json"
        tree.parent.mkdir(exist_ok=True)
        tree.write_text(json.dumps({"format_version": 1, "files": listed}))
    for ref in refs:
        place = base / "refs" / ref
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(commit)
    return base


def modelscope_snapshot(
    root: Path, files: Mapping[str, bytes], *, repo: str = "org/name", revision: str = "master"
) -> Path:
    """Writes a ModelScope snapshot below `root`/models; returns its directory."""
    base = root / "models" / repo.replace("/", "--") / "snapshots" / revision
    for name, data in files.items():
        place = base / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return base


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below `root` but this program's state: kind, mode and content of each path."""
    found: dict[str, tuple[object, ...]] = {}
    for place in sorted(root.rglob("*")):
        name = str(place.relative_to(root))
        if name.startswith(".zimage-syncd") or (place.is_dir() and not place.is_symlink()):
            continue
        if place.is_symlink():
            found[name] = ("link", str(place.readlink()))
        else:
            found[name] = ("file", place.stat().st_mode & 0o777, place.read_bytes())
    return found

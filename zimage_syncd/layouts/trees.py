"""`trees/<commit>.json`: what the hub says a commit consists of, kept by huggingface_hub 2.x (`_tree_cache.py`).

`{"format_version": 1, "files": {PATH: {"size", "blob_id", "lfs_sha256"?, "lfs_size"?, "xet_hash"?}}}`. Another format
version is passed over, as the library does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from zimage_syncd.model.snapshot import DigestAlgorithm, ExpectedDigest

_FORMAT_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of a commit."""

    size_bytes: int
    """What it has to have."""
    expected: ExpectedDigest | None
    """What it has to hash to."""


def read_tree(data: bytes, name: str) -> Mapping[str, Listed] | None:
    """The files of a commit; None where the document is of another version or cannot be understood.

    Args:
        data: the file's content.
        name: how it is called in messages, such as `trees/<commit>.json`.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format_version") != _FORMAT_VERSION:
        return None
    files = document.get("files")
    if not isinstance(files, dict):
        return None
    listed = {}
    for path, entry in files.items():
        item = _listed(entry, name)
        if item is None:
            return None
        listed[path] = item
    return listed


def _listed(entry: object, name: str) -> Listed | None:
    if not isinstance(entry, dict):
        return None
    lfs_size = entry.get("lfs_size")
    size = entry.get("size") if lfs_size is None else lfs_size
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    lfs, blob = entry.get("lfs_sha256"), entry.get("blob_id")
    if isinstance(lfs, str) and _SHA256.fullmatch(lfs):
        return Listed(size, ExpectedDigest(DigestAlgorithm.SHA256, lfs, name))
    if isinstance(blob, str) and _SHA1.fullmatch(blob):
        return Listed(size, ExpectedDigest(DigestAlgorithm.GIT_SHA1, blob, name))
    return Listed(size, None)


def digest_of_blob_name(name: str) -> ExpectedDigest | None:
    """What a blob's name says of its content: 64 hexadecimal digits are a sha256, 40 git's SHA-1."""
    if _SHA256.fullmatch(name):
        return ExpectedDigest(DigestAlgorithm.SHA256, name, "the blob's name")
    if _SHA1.fullmatch(name):
        return ExpectedDigest(DigestAlgorithm.GIT_SHA1, name, "the blob's name")
    return None

"""`trees/<commit>.json`: what the hub says a commit consists of, kept by huggingface_hub 2.x (`_tree_cache.py`).

`{"format_version": 1, "files": {PATH: {"size", "blob_id", "lfs_sha256"?, "lfs_size"?, "xet_hash"?}}}`. Another format
version is passed over, as the library does.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from zimage_syncd.model.snapshot import DigestAlgorithm, ExpectedDigest

_FORMAT_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SIZE_BYTES = 8
_ALGORITHMS = {20: DigestAlgorithm.GIT_SHA1, 32: DigestAlgorithm.SHA256}
"""By the bytes of a digest."""


@dataclass(slots=True)
class Listed:
    """One file of a commit."""

    size_bytes: int
    """What it has to have."""
    expected: ExpectedDigest | None
    """What it has to hash to."""


class Tree:
    """The files of a commit, of which those that are there are ticked off."""

    def __init__(self, files: dict[str, bytes], source: str) -> None:
        """Takes what `read_tree` found.

        Args:
            files: size and digest of each, packed.
            source: where they are from, for messages.
        """
        self._files = files
        self._source = source
        self.count = len(files)
        """How many files are listed."""
        self.strangers = 0
        """How many were ticked off that are not."""

    def get(self, name: str) -> Listed | None:
        """What is said of a file; None where it is not listed, or ticked off."""
        packed = self._files.get(name)
        if packed is None:
            return None
        size_bytes, digest = int.from_bytes(packed[:_SIZE_BYTES]), packed[_SIZE_BYTES:]
        if not digest:
            return Listed(size_bytes, None)
        return Listed(size_bytes, ExpectedDigest(_ALGORITHMS[len(digest)], digest.hex(), self._source))

    def tick_off(self, name: str) -> None:
        """A file is there; none is ticked off twice."""
        if self._files.pop(name, None) is None:
            self.strangers += 1

    def absent(self) -> list[str]:
        """Names of the files that were not ticked off, sorted."""
        return sorted(self._files)


def read_tree(text: str, source: str) -> Tree | None:
    """The files of a commit; None where the document is of another version or cannot be understood.

    Args:
        text: the file's content.
        source: how it is called in messages, such as `trees/<commit>.json`.
    """
    try:
        document = json.loads(text, object_hook=_packed)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format_version") != _FORMAT_VERSION:
        return None
    files = document.get("files")
    if not isinstance(files, dict) or not all(isinstance(packed, bytes) for packed in files.values()):
        return None
    return Tree(files, source)


def _packed(entry: dict[str, object]) -> dict[str, object] | bytes:
    """What is said of one file, as soon as it is parsed: 100,000 dictionaries take 40 MB. Else the same again."""
    lfs_size = entry.get("lfs_size")
    size = entry.get("size") if lfs_size is None else lfs_size
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2 ** (8 * _SIZE_BYTES):
        return entry
    if "files" in entry:
        return entry  # the document itself
    lfs, blob = entry.get("lfs_sha256"), entry.get("blob_id")
    digest = ""
    if isinstance(lfs, str) and _SHA256.fullmatch(lfs):
        digest = lfs
    elif isinstance(blob, str) and _SHA1.fullmatch(blob):
        digest = blob
    return size.to_bytes(_SIZE_BYTES) + bytes.fromhex(digest)


def digest_of_blob_name(name: str) -> ExpectedDigest | None:
    """What a blob's name says of its content: 64 hexadecimal digits are a sha256, 40 git's SHA-1."""
    if _SHA256.fullmatch(name):
        return ExpectedDigest(DigestAlgorithm.SHA256, name, "the blob's name")
    if _SHA1.fullmatch(name):
        return ExpectedDigest(DigestAlgorithm.GIT_SHA1, name, "the blob's name")
    return None

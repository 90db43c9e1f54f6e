"""What a cache holds: repositories, revisions, their files, and what is known about them beforehand."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from zimage_syncd.model.failures import UsageInvalid
from zimage_syncd.model.path import RelPath

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""Repository names of both hubs: huggingface_hub's `validate_repo_id` allows 96 characters of this set."""

_TYPE_PREFIXES = {"models": "model", "datasets": "dataset", "spaces": "space"}

_MAX_REVISION_CHARS = 255


class LayoutName(enum.StrEnum):
    """How a library arranges its cache."""

    HUGGINGFACE = "huggingface"
    MODELSCOPE = "modelscope"
    MODELSCOPE_LEGACY = "modelscope-legacy"
    MODELSCOPE_HUB_LEGACY = "modelscope-hub-legacy"


class RepoType(enum.StrEnum):
    """What kind of repository a hub serves."""

    MODEL = "model"
    DATASET = "dataset"
    SPACE = "space"


@dataclass(frozen=True, slots=True, order=True)
class RepoId:
    """A repository: type and `ORG/NAME` (or a bare `NAME`, as old Hugging Face repositories have)."""

    type: RepoType
    """model, dataset or space."""
    name: str
    """`ORG/NAME` or `NAME`."""

    def __post_init__(self) -> None:
        """Refuses names that no hub gives and that could mean another place on disk or in a store."""
        parts = self.name.split("/")
        good = len(parts) <= 2 and all(_NAME.fullmatch(part) and ".." not in part for part in parts)
        if not good:
            raise UsageInvalid(repr(self.name)[:200], "a repository is ORG/NAME, datasets/ORG/NAME or spaces/ORG/NAME")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `ORG/NAME`, `datasets/ORG/NAME` or `spaces/ORG/NAME`.

        Raises:
            UsageInvalid: it is none of these.
        """
        first, _, rest = text.partition("/")
        if first in _TYPE_PREFIXES and "/" in rest:
            return cls(RepoType(_TYPE_PREFIXES[first]), rest)
        return cls(RepoType.MODEL, text)

    def __str__(self) -> str:
        return self.name if self.type is RepoType.MODEL else f"{self.type}s/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class SnapshotKey:
    """One repository at one revision in one layout."""

    layout: LayoutName
    """How it lies on disk."""
    repo: RepoId
    """The repository."""
    revision: str
    """Hugging Face: the commit. ModelScope: the revision's name, such as `master`."""

    def __post_init__(self) -> None:
        """Refuses revisions that no hub gives."""
        bad = not 0 < len(self.revision) <= _MAX_REVISION_CHARS or any(c < " " or c == "\x7f" for c in self.revision)
        if bad:
            raise UsageInvalid(repr(self.revision)[:200], "a revision is 1 to 255 printable characters")

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision[:12]} ({self.layout})"


class DigestAlgorithm(enum.StrEnum):
    """How an expected digest is computed."""

    SHA256 = "sha256"
    GIT_SHA1 = "git-sha1"
    """SHA-1 over `blob <size>\\0` and the content, as git names its blobs (git-hash-object)."""


@dataclass(frozen=True, slots=True)
class ExpectedDigest:
    """What a file's content must hash to, according to somebody else than this disk's content."""

    algorithm: DigestAlgorithm
    """How to compute it."""
    hex: str
    """Lower-case hexadecimal."""
    source: str
    """Who says so: `trees/<commit>.json`, `blob name`, `manifest`."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """What `lstat` says of a payload file."""

    inode: int
    """st_ino."""
    size_bytes: int
    """st_size."""
    mtime_ns: int
    """st_mtime_ns."""
    ctime_ns: int
    """st_ctime_ns."""
    mode: int
    """Permission bits, 0 to 0o777."""
    links: int = 1
    """st_nlink: more than 1 where the file is hard-linked elsewhere."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One payload file of a snapshot, as it lies on disk."""

    path: RelPath
    """From the cache directory."""
    size_bytes: int
    """As `stat` gives it."""
    mode: int
    """Permission bits, 0 to 0o777."""
    expected: ExpectedDigest | None = None
    """What it must hash to, where that is known from elsewhere."""
    linked_to: str | None = None
    """The absolute path in a recorded store that a symlink at `path` leads to; None for a file of its own."""
    stat: FileStat | None = None
    """What `lstat` said when it was found; None for one that is linked."""


@dataclass(frozen=True, slots=True)
class LocalLink:
    """A relative symlink of a snapshot."""

    path: RelPath
    """From the cache directory."""
    target: str
    """The link's text."""


@dataclass(frozen=True, slots=True)
class LocalPointer:
    """A small text file that a library needs to find the snapshot: refs, trees, .no_exist."""

    path: RelPath
    """From the cache directory."""
    text: str
    """Its whole content."""
    mode: int = 0o644
    """Permission bits, 0 to 0o777."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Every file that the publisher lists is there, with the right size."""

    checked: tuple[str, ...]
    """What was compared, for people."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Something is missing, temporary, or does not fit."""

    reasons: tuple[str, ...]
    """Each names the file and what is wrong with it; at least one."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """No list of the publisher is there to compare with; all that could be checked was good."""

    checked: tuple[str, ...]
    """What was compared, for people."""
    unchecked: tuple[str, ...]
    """What could not be."""
    satisfied: bool
    """Whether an index of its own (`model_index.json`, a weight index) was there and everything in it was found:
    only then is the snapshot backed up, as unproved."""


Completeness = Complete | Incomplete | CannotTell


@dataclass(frozen=True, slots=True)
class LocalSnapshot:
    """A snapshot that a layout found in a directory."""

    key: SnapshotKey
    """Which one."""
    names: tuple[str, ...]
    """Branches and tags that point at it, sorted; the revision itself where there are none."""
    directory: RelPath
    """What `from_pretrained` takes, from the cache directory."""
    files: Sequence[LocalFile]
    """Payload, sorted by path; for shared blobs also those outside the repository's directory."""
    links: Sequence[LocalLink]
    """Relative symlinks, sorted by path."""
    pointers: tuple[LocalPointer, ...]
    """Pointers, sorted by path."""
    completeness: Completeness
    """Whether all of it is there."""

    @property
    def size_bytes(self) -> int:
        """Bytes of payload."""
        known = getattr(self.files, "size_bytes", None)
        return known if isinstance(known, int) else sum(file.size_bytes for file in self.files)

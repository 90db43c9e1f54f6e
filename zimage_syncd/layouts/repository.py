"""One repository's directory in Hugging Face's cache: its name, references, pointers and unfinished downloads."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from zimage_syncd.layouts.walk import OnTrouble, directories, names, read_small, walk
from zimage_syncd.model.failures import Failure
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import LocalPointer, RepoId, RepoType

PREFIXES = ("hub/", "")
"""The cache directory is HF_HOME, or HF_HUB_CACHE itself."""

_TYPES = {"models": RepoType.MODEL, "datasets": RepoType.DATASET, "spaces": RepoType.SPACE}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAX_REF_BYTES = 1024
_MAX_TREE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Repository:
    """Where one repository lies."""

    root: str
    """The cache directory, absolute and without symlinks."""
    base: str
    """From the cache directory: `[hub/]models--ORG--NAME`."""
    repo: RepoId
    """Its name."""

    @property
    def directory(self) -> str:
        """Absolute."""
        return f"{self.root}/{self.base}"

    def commits(self, on_trouble: OnTrouble) -> list[str]:
        """Commits that have a snapshot, sorted; where there is none, those of a first download that is unfinished.

        huggingface_hub writes reference and list first, and a snapshot's directory with its first file.
        """
        made = [name for name in directories(f"{self.directory}/snapshots", on_trouble) if _COMMIT.fullmatch(name)]
        try:
            begun = not made and self.unfinished()
        except Failure as failure:
            on_trouble(failure)
            begun = []
        return sorted({text.strip() for text in self.references().values()}) if begun else made

    def references(self) -> dict[str, str]:
        """Texts of `refs/*` by the names (branches, tags, refs/pr/N); each says a commit.

        The library reads such a file without stripping it; a line end that somebody added is kept as it is.
        """
        texts = {}
        for found in walk(f"{self.directory}/refs"):
            data = read_small(f"{self.directory}/refs/{found.name}", _MAX_REF_BYTES) if found.is_file else None
            text = "" if data is None else data.decode("ascii", "replace")
            if _COMMIT.fullmatch(text.strip()) and private_part(f"refs/{found.name}") is None:
                texts[found.name] = text
        return texts

    def tree(self, commit: str) -> tuple[bool, str | None]:
        """Whether `trees/<commit>.json` can be read, and its text where it is one."""
        data = read_small(f"{self.directory}/trees/{commit}.json", _MAX_TREE_BYTES)
        if data is None:
            return False, None
        try:
            return True, data.decode()
        except UnicodeDecodeError:  # the library cannot read it either, and asks the hub again
            return True, None

    def pointers(self, commit: str, references: Mapping[str, str], tree: str | None) -> tuple[LocalPointer, ...]:
        """All pointers of one commit, sorted by path.

        Args:
            commit: which.
            references: texts of those of `references()` that say this commit, by name.
            tree: text of `trees/<commit>.json`; None where there is none.
        """
        texts = {f"{self.base}/refs/{name}": text for name, text in references.items()}
        if tree is not None:
            texts[f"{self.base}/trees/{commit}.json"] = tree
        for found in walk(f"{self.directory}/.no_exist"):
            path = f"{self.base}/.no_exist/{found.name}"
            own = found.name.startswith(f"{commit}/") and found.is_file and found.size_bytes == 0
            if own and private_part(path) is None:
                texts[path] = ""
        return tuple(LocalPointer(RelPath(path), texts[path], self._mode(path)) for path in sorted(texts))

    def _mode(self, path: str) -> int:
        try:
            return stat.S_IMODE(os.lstat(f"{self.root}/{path}").st_mode) & 0o777
        except OSError:  # it went while we looked; a restore makes it anew
            return 0o644

    def unfinished(self) -> list[str]:
        """Names of downloads under way or left over, whose finished blob is not there.

        They are called `<etag>.<8 hex>.incomplete`, `<etag>.incomplete` by older releases.

        Raises:
            PathUnreadable: `blobs` cannot be listed.
            DiskError: the disk fails.
        """
        blobs = f"{self.directory}/blobs"
        begun = [name for name in names(blobs) if name.endswith(".incomplete")]
        return sorted(name for name in begun if not os.path.lexists(f"{blobs}/{name.split('.', 1)[0]}"))


def folder_name(repo: RepoId) -> str:
    """`models--ORG--NAME` (huggingface_hub, `repo_folder_name`)."""
    return "--".join([f"{repo.type}s", *repo.name.split("/")])


def repositories(root: str, on_trouble: OnTrouble) -> Iterator[Repository]:
    """All repositories of a cache directory, those below `hub/` first."""
    for prefix in PREFIXES:
        for name in directories(f"{root}/{prefix}".rstrip("/"), on_trouble):
            kind, _, rest = name.partition("--")
            if kind not in _TYPES or not rest or rest.count("--") > 1:
                continue
            try:
                yield Repository(root, prefix + name, RepoId(_TYPES[kind], rest.replace("--", "/")))
            except Failure:
                continue  # no hub gives such a name

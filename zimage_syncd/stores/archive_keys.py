"""Names of an archive's objects: built from values, and parsed from whatever a store lists.

What does not parse back to exactly the same name is no object of an archive, and is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from zimage_syncd.model.failures import Failure, UnsafePath
from zimage_syncd.model.path import MAX_PART_BYTES
from zimage_syncd.model.picture_json import NAME_CHARS
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

MARKER_KEY = "zimage-syncd.json"
BLOBS = "blobs/"
MANIFESTS = "manifests/"
REFS = "refs/"
INTENTS = "intents/"
PRUNES = "prune/"
PICTURES = "pictures/"

MAX_SEQUENCE = 10**12 - 1
"""Twelve digits, so that names sort like numbers."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REF_NAME = re.compile(r"([0-9]{12})-([0-9a-f]{64})\.json", re.ASCII)
_MANIFEST_NAME = re.compile(r"([0-9a-f]{64})\.json")
_PICTURE_NAME = re.compile(rf"([0-9a-f]{{{NAME_CHARS}}})\.json")
_UUID = r"[0-9a-f]{32}"
_INTENT_KEY = re.compile(rf"intents/[^/]+-{_UUID}\.json")
_PRUNE_KEY = re.compile(rf"prune/{_UUID}\.json")


def encode_part(text: str) -> str:
    """A text of any origin as one part of a key.

    Percent-encoded UTF-8 with upper-case digits; letters, digits, `_`, `-`, `~` and `.` stay, but for a `.` at the
    beginning: no part is `.` or `..`, or hidden.

    Raises:
        UnsafePath: it cannot be told from another text once encoded, or is too long.
    """
    try:
        part = _quoted(text)
    except UnicodeEncodeError as error:
        raise UnsafePath(repr(text)[:300], "is not Unicode") from error
    if unquote(part, errors="surrogateescape") != text or not part:
        raise UnsafePath(repr(text)[:300], "is empty or not Unicode")
    if len(part) > MAX_PART_BYTES:
        raise UnsafePath(repr(text)[:300], f"takes {len(part)} bytes in a key, at most {MAX_PART_BYTES} are possible")
    return part


def decode_part(part: str) -> str | None:
    """The text that `encode_part` made this part of; None where it made none such."""
    text = unquote(part, errors="surrogateescape")
    try:
        return text if _quoted(text) == part else None
    except UnicodeEncodeError:
        return None


def _quoted(text: str) -> str:
    part = quote(text, safe="", errors="surrogateescape")
    return f"%2E{part[1:]}" if part.startswith(".") else part


def is_sha256(text: str) -> bool:
    """Whether it is a digest as archives write it: 64 lower-case hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def blob_key(sha256: str) -> str:
    """Where a blob lies.

    Raises:
        UnsafePath: it is no digest.
    """
    if not is_sha256(sha256):
        raise UnsafePath(repr(sha256)[:100], "is not the name of a blob: 64 lower-case hexadecimal digits")
    return f"{BLOBS}{sha256[:2]}/{sha256}"


def blob_of(key: str) -> str | None:
    """The digest of the blob that lies at a key, or None."""
    sha256 = key.rpartition("/")[2]
    return sha256 if key == f"{BLOBS}{sha256[:2]}/{sha256}" and is_sha256(sha256) else None


@dataclass(frozen=True, slots=True)
class ManifestKey:
    """Where a manifest lies."""

    layout: LayoutName
    """Of its snapshot."""
    repo: RepoId
    """Of its snapshot."""
    manifest_id: str
    """sha256 of its bytes."""

    @property
    def key(self) -> str:
        """`manifests/<layout>/<type>/<repo>/<id>.json`."""
        return f"{MANIFESTS}{_repo_prefix(self.layout, self.repo)}{self.manifest_id}.json"

    @classmethod
    def parse(cls, key: str) -> ManifestKey | None:
        """The place that a key names, or None."""
        parts = key.split("/")
        name = _MANIFEST_NAME.fullmatch(parts[-1])
        place = _repo(parts[1:4])
        if len(parts) != 5 or name is None or place is None:
            return None
        found = cls(*place, name[1])
        return found if found.key == key else None


@dataclass(frozen=True, slots=True)
class RefKey:
    """Where a reference lies. References of one place sort by `order`, and the last one is the newest."""

    place: SnapshotKey
    """Layout, repository and, as its revision, the name: branch, tag, or commit where there is neither."""
    sequence: int
    """1 to 10^12 - 1."""
    manifest_id: str
    """What it refers to."""

    @property
    def key(self) -> str:
        """`refs/<layout>/<type>/<repo>/<name>/<seq>-<id>.json`."""
        return f"{ref_prefix(self.place)}{self.sequence:012d}-{self.manifest_id}.json"

    @property
    def order(self) -> tuple[int, str]:
        """Two of equal number sort by name."""
        return self.sequence, self.manifest_id

    @classmethod
    def parse(cls, key: str) -> RefKey | None:
        """The reference that a key names, or None."""
        parts = key.split("/")
        name = _REF_NAME.fullmatch(parts[-1])
        place = _repo(parts[1:4])
        revision = decode_part(parts[4]) if len(parts) == 6 else None
        if name is None or place is None or revision is None or int(name[1]) == 0:
            return None
        try:
            found = cls(SnapshotKey(*place, revision), int(name[1]), name[2])
        except Failure:
            return None
        return found if found.key == key else None


def ref_prefix(place: SnapshotKey) -> str:
    """What the keys of all references of a name begin with.

    Raises:
        UnsafePath: the name cannot be part of a key.
    """
    return f"{REFS}{_repo_prefix(place.layout, place.repo)}{encode_part(place.revision)}/"


def intent_key(host: str, unique: str) -> str:
    """Where an intent lies; `unique` is 32 hexadecimal digits."""
    return f"{INTENTS}{encode_part(host)}-{unique}.json"


def is_intent(key: str) -> bool:
    """Whether an object is an intent."""
    return _INTENT_KEY.fullmatch(key) is not None


def is_prune(key: str) -> bool:
    """Whether an object is a list of candidates for deletion."""
    return _PRUNE_KEY.fullmatch(key) is not None


def pictures_prefix(place: ManifestKey) -> str:
    """What the keys of all reference pictures of a manifest begin with."""
    return f"{PICTURES}{_repo_prefix(place.layout, place.repo)}{place.manifest_id}/"


def picture_document(place: ManifestKey, name: str) -> str:
    """Where the document of a reference lies; `name` is `model.picture_json.name_of` its conditions.

    Raises:
        UnsafePath: it is no such name.
    """
    key = f"{pictures_prefix(place)}{name}.json"
    if picture_name(place, key) is None:
        raise UnsafePath(repr(name)[:100], f"is not the name of a reference: {NAME_CHARS} hexadecimal digits")
    return key


def picture_name(place: ManifestKey, key: str) -> str | None:
    """The name of the reference whose document lies at a key, or None."""
    prefix = pictures_prefix(place)
    found = _PICTURE_NAME.fullmatch(key.removeprefix(prefix)) if key.startswith(prefix) else None
    return None if found is None else found[1]


def picture_file(place: ManifestKey, sha256: str) -> str:
    """Where the PNG of a reference lies.

    Raises:
        UnsafePath: it is no digest.
    """
    if not is_sha256(sha256):
        raise UnsafePath(repr(sha256)[:100], "is not the name of a picture: 64 lower-case hexadecimal digits")
    return f"{pictures_prefix(place)}{sha256}.png"


def _repo_prefix(layout: LayoutName, repo: RepoId) -> str:
    return f"{layout}/{repo.type}/{encode_part(repo.name)}/"


def _repo(parts: list[str]) -> tuple[LayoutName, RepoId] | None:
    if len(parts) != 3:
        return None
    name = decode_part(parts[2])
    try:
        return (LayoutName(parts[0]), RepoId(RepoType(parts[1]), name)) if name else None
    except (ValueError, Failure):
        return None

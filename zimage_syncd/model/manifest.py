"""Manifests: what a snapshot consists of, as canonical JSON (format 1, docs/format.md).

Owns the format and its bounds. A manifest from a store is untrusted input: whatever could write outside the
snapshot's own files, or exhaust memory, is refused here, before anything acts on it.
"""

from __future__ import annotations

import enum
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zimage_syncd.model.entries import (
    CHUNK_BYTES,
    MAX_FILE_BYTES,
    MAX_POINTER_BYTES,
    Entry,
    FileEntry,
    LinkEntry,
    PointerEntry,
    chunk_count,
)
from zimage_syncd.model.failures import Failure, ManifestCorrupt, ManifestInvalid
from zimage_syncd.model.manifest_json import (
    HEAD,
    NotCanonical,
    Reading,
    pieces,
    read_entry,
    require_keys,
    tail,
    text_of,
    texts,
)
from zimage_syncd.model.packed_entries import Entries, Kind, OfKind
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

FORMAT = 1
"""The format's version; a reader refuses any other."""

MAX_ENTRIES = 1_000_000
MAX_MANIFEST_BYTES = 512 * 2**20

_FEW = 1000
"""Up to so many entries are kept as they are, which is faster than packing them."""

_WINDOW_BYTES = 2**18

_REST = frozenset({"format", "layout", "type", "repo_id", "revision", "proof"})
_PARSING = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

__all__ = [
    "CHUNK_BYTES",
    "MAX_FILE_BYTES",
    "MAX_POINTER_BYTES",
    "Entry",
    "FileEntry",
    "LinkEntry",
    "Manifest",
    "PointerEntry",
    "Proof",
    "chunk_count",
]


class Proof(enum.StrEnum):
    """Whether content was compared with a digest from elsewhere when it was recorded."""

    PROVED = "proved"
    UNPROVED = "unproved"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A snapshot's whole content; equal content and key give equal bytes and an equal id."""

    key: SnapshotKey
    """Which snapshot."""
    proof: Proof
    """Whether its content was proved when it was recorded."""
    entries: Sequence[Entry]
    """Sorted by path, without duplicates, none below another one that is no directory; made of anything that can be
    walked over. Very many are packed, and become objects for whoever walks over them."""
    _written: tuple[str, int] = field(default=("", 0), init=False, repr=False, compare=False)
    """The id, and the bytes of the canonical JSON, once somebody asked for one of them."""
    _files: Sequence[FileEntry] | None = field(default=None, init=False, repr=False, compare=False)
    """The payload, once somebody asked for it."""

    def __post_init__(self) -> None:
        """Validates what entries may not do to each other."""
        if not isinstance(self.entries, Entries):
            object.__setattr__(self, "entries", gathered(self.entries, str(self.key)))

    @property
    def files(self) -> Sequence[FileEntry]:
        """The payload; gathered once."""
        if self._files is None:
            object.__setattr__(self, "_files", self._of_kind(FileEntry))
        return self._files or ()

    @property
    def links(self) -> Sequence[LinkEntry]:
        """The symlinks."""
        return self._of_kind(LinkEntry)

    @property
    def pointers(self) -> Sequence[PointerEntry]:
        """The pointers."""
        return self._of_kind(PointerEntry)

    def _of_kind(self, kind: type[Kind]) -> Sequence[Kind]:
        if isinstance(self.entries, Entries):
            return OfKind(self.entries, kind)
        return tuple(entry for entry in self.entries if isinstance(entry, kind))

    def blobs(self) -> Iterator[tuple[bytes, int]]:
        """The sha256 of each file, as 32 bytes, and how many bytes it has; in order, equal ones again and again."""
        if isinstance(self.entries, Entries):
            return self.entries.blobs()
        return ((bytes.fromhex(file.sha256), file.size_bytes) for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Bytes of payload."""
        if isinstance(self.entries, Entries):
            return self.entries.size_bytes
        return sum(file.size_bytes for file in self.files)

    @property
    def id(self) -> str:
        """The snapshot's id: sha256 of the canonical JSON, lower-case hexadecimal."""
        return self._as_written()[0]

    @property
    def json_bytes(self) -> int:
        """How many bytes the canonical JSON has."""
        return self._as_written()[1]

    def _as_written(self) -> tuple[str, int]:
        if not self._written[0]:
            digest, count = hashlib.sha256(), 0
            for piece in self.pieces():
                digest.update(piece)
                count += len(piece)
            object.__setattr__(self, "_written", (digest.hexdigest(), count))
        return self._written

    def to_bytes(self) -> bytes:
        """Canonical JSON: ASCII, sorted keys, no spaces, one newline at the end."""
        whole = io.BytesIO()
        whole.writelines(self.pieces())  # `join` would keep all pieces beside the whole
        return whole.getvalue()

    def pieces(self) -> Iterator[bytes]:
        """The canonical JSON in pieces: with 100,000 files it is tens of megabytes."""
        return pieces(self.entries, self._rest())

    def _rest(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "layout": str(self.key.layout),
            "proof": str(self.proof),
            "repo_id": self.key.repo.name,
            "revision": self.key.revision,
            "type": str(self.key.repo.type),
        }

    @classmethod
    def recorded(cls, key: SnapshotKey, entries: Iterable[Entry], proof: Callable[[], Proof]) -> Manifest:
        """A manifest of entries as they come, whose id is computed on the way.

        Args:
            key: which snapshot.
            entries: sorted by path; walked over once.
            proof: asked when all have come.

        Raises:
            ManifestInvalid: they cannot be a manifest's.
            Failure: as `entries`.
        """
        found = Entries(())
        digest, count = hashlib.sha256(HEAD), len(HEAD)
        for text in texts(found.taken(_checked(entries, str(key)))):
            digest.update(text.encode())
            count += len(text)
        manifest = cls(key, proof(), found if len(found) > _FEW else tuple(found))
        end = b"]," + tail(manifest._rest())
        digest.update(end)
        object.__setattr__(manifest, "_written", (digest.hexdigest(), count + len(end)))
        return manifest

    @classmethod
    def from_bytes(cls, data: bytes, expected_id: str | None = None) -> Manifest:
        """Reads and validates a manifest that is in memory (see `from_pieces`)."""
        view = memoryview(data)
        return cls.from_pieces(
            lambda: (bytes(view[at : at + _WINDOW_BYTES]) for at in range(0, len(view), _WINDOW_BYTES)), expected_id
        )

    @classmethod
    def from_pieces(cls, read: Callable[[], Iterable[bytes]], expected_id: str | None = None) -> Manifest:
        """Reads and validates a manifest.

        Args:
            read: begins to give what a store or the disk has, in pieces of any size; called again where what came was
                none, to tell why.
            expected_id: the id under which it was kept; None where none is known.

        Raises:
            ManifestCorrupt: it does not hash to `expected_id`.
            ManifestInvalid: it is not canonical, not of format 1, out of bounds, or could escape its root.
            Failure: as `read`.
        """
        name = expected_id or "manifest"
        data = _Counted(read(), name)
        try:
            manifest = cls._read(data, name)
        except (Failure, *_PARSING) as error:
            if data.broke_off:
                raise  # the store's trouble says nothing about the manifest
            data.finish(expected_id)
            raise _refusal(error, read, name) from error
        object.__setattr__(manifest, "_written", data.finish(expected_id))
        return manifest

    @classmethod
    def _read(cls, data: Iterable[bytes], name: str) -> Manifest:
        reading = Reading(data)
        entries = gathered(reading.entries(), name)
        manifest = cls(*_key_and_proof(json.loads(b"{" + reading.tail)), entries)
        if tail(manifest._rest()) != reading.tail:
            raise NotCanonical("it is not in canonical form")
        return manifest


class _Counted:
    """What is read of a manifest, hashed and counted as it passes.

    Args:
        data: in pieces.
        name: the manifest's, for messages.
    """

    def __init__(self, data: Iterable[bytes], name: str) -> None:
        self._data = iter(data)
        self._name = name
        self._digest = hashlib.sha256()
        self._count = 0
        self.broke_off = False
        """Whether what gives the pieces failed."""

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._next()) is not None:
            self._count += len(piece)
            if self._count > MAX_MANIFEST_BYTES:
                raise ManifestInvalid(self._name, f"more than the {MAX_MANIFEST_BYTES} bytes that are read")
            self._digest.update(piece)
            yield piece

    def _next(self) -> bytes | None:
        try:
            return next(self._data, None)
        except BaseException:
            self.broke_off = True
            raise

    def finish(self, expected_id: str | None) -> tuple[str, int]:
        """Takes what is left; the digest and the count of all of it.

        Raises:
            ManifestCorrupt: the digest is not `expected_id`.
            ManifestInvalid: there is too much.
        """
        for _ in self:
            pass
        found = self._digest.hexdigest()
        if expected_id not in {None, found}:
            raise ManifestCorrupt(self._name, f"its content hashes to {found}")
        return found, self._count


def gathered(entries: Iterable[Entry], name: str) -> Sequence[Entry]:
    """Validates what entries may not do to each other, and packs them where they are very many.

    Args:
        entries: sorted by path.
        name: the manifest's, for messages.

    Raises:
        ManifestInvalid: they cannot be a manifest's.
    """
    checked = _checked(entries, name)
    few = tuple(itertools.islice(checked, _FEW + 1))
    return few if len(few) <= _FEW else Entries(itertools.chain(few, checked))


def _checked(entries: Iterable[Entry], name: str) -> Iterator[Entry]:
    """The same entries.

    All that begin with the path of one follow it without a gap, so those of the last ones that are still the beginning
    of the present path are all that it could lie below.
    """
    count, last = 0, ""
    above: list[str] = []
    for entry in entries:
        path = entry.path
        if path <= last:
            raise ManifestInvalid(name, "entries are not sorted by path, or one is there twice")
        hidden = private_part(path)
        if hidden is not None:
            raise ManifestInvalid(path, f"{hidden!r} is never part of a snapshot")
        while above and not path.startswith(above[-1]):
            above.pop()
        if above and any(path[len(beginning)] == "/" for beginning in above):
            raise ManifestInvalid(path, "it lies below an entry that is no directory")
        above.append(path)
        last = path
        count += 1
        if count > MAX_ENTRIES:
            raise ManifestInvalid(name, f"more than {MAX_ENTRIES} entries")
        yield entry
    if count == 0:
        raise ManifestInvalid(name, f"0 entries; 1 to {MAX_ENTRIES} are allowed")


def _key_and_proof(document: Any) -> tuple[SnapshotKey, Proof]:  # noqa: ANN401 - JSON from outside
    require_keys(document, _REST)
    if type(document["format"]) is not int or document["format"] != FORMAT:
        raise ManifestInvalid("manifest", f"format {document['format']!r}, chunks of {CHUNK_BYTES} bytes")
    repo = RepoId(RepoType(document["type"]), text_of(document["repo_id"]))
    return SnapshotKey(LayoutName(document["layout"]), repo, text_of(document["revision"])), Proof(document["proof"])


def _refusal(error: Exception, read: Callable[[], Iterable[bytes]], name: str) -> ManifestInvalid:
    """What to say of bytes that are no manifest: what the JSON library finds in them, where there is nothing better."""
    if isinstance(error, NotCanonical):
        try:
            _diagnose(json.loads(b"".join(read())))
        except (Failure, *_PARSING) as found:
            error = found
    if isinstance(error, ManifestInvalid):
        return error
    detail = str(error) if isinstance(error, Failure | NotCanonical) else f"{type(error).__name__}: {error}"
    return ManifestInvalid(name, detail[:300])


def _diagnose(document: Any) -> None:  # noqa: ANN401 - JSON from outside
    require_keys(document, _REST | {"chunk_bytes", "entries"})
    if document["format"] != FORMAT or document["chunk_bytes"] != CHUNK_BYTES:
        raise ManifestInvalid("manifest", f"format {document['format']!r}, chunks of {document['chunk_bytes']!r} bytes")
    for entry in document["entries"]:
        read_entry(entry)

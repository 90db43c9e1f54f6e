"""Manifests: what a snapshot consists of, as canonical JSON (format 1, docs/format.md).

Owns the format and its bounds. A manifest from a store is untrusted input: whatever could write outside the
snapshot's own files, or exhaust memory, is refused here, before anything acts on it.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as _quoted
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
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.private import private_part
from zimage_syncd.model.snapshot import LayoutName, RepoId, RepoType, SnapshotKey

FORMAT = 1
"""The format's version; a reader refuses any other."""


_HEAD = f'{{"chunk_bytes":{CHUNK_BYTES},"entries":['.encode()
"""How canonical JSON begins."""

_ENTRIES_A_PIECE = 1000
_WINDOW_BYTES = 2**20

MAX_ENTRIES = 1_000_000
MAX_MANIFEST_BYTES = 512 * 2**20


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
    entries: tuple[Entry, ...]
    """Sorted by path, without duplicates, none below another one that is no directory."""
    _id: str = field(default="", init=False, repr=False, compare=False)
    """The id, once somebody asked for it."""
    _files: tuple[FileEntry, ...] = field(default=(), init=False, repr=False, compare=False)
    """The payload, once somebody asked for it."""

    def __post_init__(self) -> None:
        """Validates what entries may not do to each other."""
        if not 0 < len(self.entries) <= MAX_ENTRIES:
            raise ManifestInvalid(str(self.key), f"{len(self.entries)} entries; 1 to {MAX_ENTRIES} are allowed")
        paths = [entry.path for entry in self.entries]
        if any(first >= second for first, second in itertools.pairwise(paths)):
            raise ManifestInvalid(str(self.key), "entries are not sorted by path, or one is there twice")
        taken = set(paths)
        roomy: set[str] = set()  # directories of which none of the parents is an entry: looked at once, not once a file
        for path in paths:
            hidden = private_part(path)
            if hidden is not None:
                raise ManifestInvalid(path, f"{hidden!r} is never part of a snapshot")
            directory = path.rpartition("/")[0]
            if directory not in roomy and any(parent in taken for parent in path.parents):
                raise ManifestInvalid(path, "it lies below an entry that is no directory")
            roomy.add(directory)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """The payload; gathered once."""
        if not self._files:
            object.__setattr__(self, "_files", tuple(entry for entry in self.entries if isinstance(entry, FileEntry)))
        return self._files

    @property
    def links(self) -> tuple[LinkEntry, ...]:
        """The symlinks."""
        return tuple(entry for entry in self.entries if isinstance(entry, LinkEntry))

    @property
    def pointers(self) -> tuple[PointerEntry, ...]:
        """The pointers."""
        return tuple(entry for entry in self.entries if isinstance(entry, PointerEntry))

    @property
    def size_bytes(self) -> int:
        """Bytes of payload."""
        return sum(file.size_bytes for file in self.files)

    @property
    def id(self) -> str:
        """The snapshot's id: sha256 of the canonical JSON, lower-case hexadecimal."""
        if not self._id:
            digest = hashlib.sha256()
            for piece in self._pieces():
                digest.update(piece)
            object.__setattr__(self, "_id", digest.hexdigest())
        return self._id

    def to_bytes(self) -> bytes:
        """Canonical JSON: ASCII, sorted keys, no spaces, one newline at the end."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        """The canonical JSON, a thousand entries at a time: with 100,000 files it is tens of megabytes."""
        yield _HEAD
        for start in range(0, len(self.entries), _ENTRIES_A_PIECE):
            texts = map(_entry_text, self.entries[start : start + _ENTRIES_A_PIECE])
            yield (("," if start else "") + ",".join(texts)).encode()
        rest = {
            "format": FORMAT,
            "layout": str(self.key.layout),
            "proof": str(self.proof),
            "repo_id": self.key.repo.name,
            "revision": self.key.revision,
            "type": str(self.key.repo.type),
        }
        yield b"]," + json.dumps(rest, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()[1:] + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, expected_id: str | None = None) -> Manifest:
        """Reads and validates a manifest.

        Args:
            data: what a store or the disk gave.
            expected_id: the id under which it was kept; None where none is known.

        Raises:
            ManifestCorrupt: `data` does not hash to `expected_id`.
            ManifestInvalid: it is not canonical, not of format 1, out of bounds, or could escape its root.
        """
        name = expected_id or "manifest"
        if expected_id is not None:
            found = hashlib.sha256(data).hexdigest()
            if found != expected_id:
                raise ManifestCorrupt(expected_id, f"its content hashes to {found}")
        if len(data) > MAX_MANIFEST_BYTES:
            raise ManifestInvalid(name, f"{len(data)} bytes; at most {MAX_MANIFEST_BYTES} are read")
        try:
            manifest = _read(_parsed(data))
        except Failure as failure:
            if isinstance(failure, ManifestInvalid):
                raise
            raise ManifestInvalid(name, str(failure)) from failure
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ManifestInvalid(name, f"{type(error).__name__}: {error}"[:300]) from error
        if not manifest.is_written_as(data):
            raise ManifestInvalid(name, "it is not in canonical form")
        object.__setattr__(manifest, "_id", expected_id or hashlib.sha256(data).hexdigest())
        return manifest

    def is_written_as(self, data: bytes) -> bool:
        """Whether `data` is its canonical JSON."""
        view, at = memoryview(data), 0
        for piece in self._pieces():
            if view[at : at + len(piece)] != piece:
                return False
            at += len(piece)
        return at == len(data)


def _entry_text(entry: Entry) -> str:
    """One entry's canonical JSON: keys in order; digests are hexadecimal and need no quoting."""
    match entry:
        case FileEntry():
            chunks = ",".join(f'"{chunk}"' for chunk in entry.chunks)
            return (
                f'{{"chunks":[{chunks}],"kind":"file","mode":{entry.mode},"path":{_quoted(entry.path)},'
                f'"sha256":"{entry.sha256}","size_bytes":{entry.size_bytes}}}'
            )
        case LinkEntry():
            return f'{{"kind":"link","path":{_quoted(entry.path)},"target":{_quoted(entry.target)}}}'
        case PointerEntry():
            quoted = f'"path":{_quoted(entry.path)},"text":{_quoted(entry.text)}'
            return f'{{"kind":"pointer","mode":{entry.mode},{quoted}}}'


def _read(document: Any) -> Manifest:  # noqa: ANN401 - JSON from outside; every access below checks its type
    _exactly(document, "format", "layout", "type", "repo_id", "revision", "proof", "chunk_bytes", "entries")
    if document["format"] != FORMAT or document["chunk_bytes"] != CHUNK_BYTES:
        raise ManifestInvalid("manifest", f"format {document['format']!r}, chunks of {document['chunk_bytes']!r} bytes")
    entries = document["entries"]
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise ManifestInvalid("manifest", "entries is not a list, or too long")
    if not all(isinstance(entry, Entry) for entry in entries):
        raise ManifestInvalid("manifest", "one of the entries is none")
    key = SnapshotKey(
        LayoutName(document["layout"]),
        RepoId(RepoType(document["type"]), _text(document["repo_id"])),
        _text(document["revision"]),
    )
    return Manifest(key, Proof(document["proof"]), tuple(entries))


def _parsed(data: bytes) -> Any:  # noqa: ANN401 - JSON from outside
    """The document with its entries as their types.

    A canonical manifest is read a window at a time: its text as a whole would be a second copy of it. Whatever looks
    otherwise is left to the JSON library, which says what is wrong.
    """
    entries: list[Entry | dict[str, Any]] = []
    decoder = json.JSONDecoder(object_hook=_entry_or_document)
    at, window_bytes = len(_HEAD), _WINDOW_BYTES
    while data.startswith(_HEAD) and len(entries) < MAX_ENTRIES:
        window = data[at : at + window_bytes].decode("latin-1")
        inside = 0
        try:
            while window[inside : inside + 1] == "{":
                entry, end = decoder.raw_decode(window, inside)
                if window[end : end + 1] not in {",", "]"}:
                    break  # the window ends here, or this is not canonical
                entries.append(entry)
                inside = end + 1
                if window[end] == "]":
                    rest = json.loads(b"{" + data[at + inside + 1 :])
                    return {**json.loads(_HEAD + b"]}"), **rest, "entries": entries}
        except json.JSONDecodeError:
            pass  # cut by the window's end, most likely
        if inside == 0:
            if at + window_bytes >= len(data):
                break
            window_bytes *= 2  # one entry, such as a long list, is larger than the window
        at += inside
    return json.loads(data, object_hook=_entry_or_document)


def _entry_or_document(document: dict[str, Any]) -> Entry | dict[str, Any]:
    """Turns an entry into its type as soon as it is parsed; `_read` judges whatever is none.

    A whole manifest of dictionaries would take three times as much memory.
    """
    return _read_entry(document) if "kind" in document else document


def _read_entry(document: Any) -> Entry:  # noqa: ANN401 - as above
    kind = document["kind"]
    path = RelPath(_text(document["path"]))
    if kind == "file":
        _exactly(document, "kind", "path", "size_bytes", "mode", "sha256", "chunks")
        chunks = document["chunks"]
        if not isinstance(chunks, list):
            raise ManifestInvalid(path, "chunks is not a list")
        return FileEntry(
            path,
            _integer(document["size_bytes"]),
            _integer(document["mode"]),
            _text(document["sha256"]),
            tuple(_text(chunk) for chunk in chunks),
        )
    if kind == "link":
        _exactly(document, "kind", "path", "target")
        return LinkEntry(path, _text(document["target"]))
    if kind == "pointer":
        _exactly(document, "kind", "path", "text", "mode")
        return PointerEntry(path, _text(document["text"]), _integer(document["mode"]))
    raise ManifestInvalid(path, f"an entry of the unknown kind {kind!r}")


def _exactly(document: dict[str, object], *keys: str) -> None:
    if not isinstance(document, dict) or set(document) != set(keys):
        raise ManifestInvalid("manifest", f"expected exactly the keys {', '.join(keys)}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ManifestInvalid("manifest", f"expected text, found {value!r}"[:200])
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ManifestInvalid("manifest", f"expected an integer, found {value!r}"[:200])
    return value

"""A manifest's canonical JSON (docs/format.md), written and read a piece at a time: of 100,000 files it has 57 MB.

Reads strictly: whatever is not the canonical form of what was read is refused, so each value has one way to be written.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from zimage_syncd.model.entries import CHUNK_BYTES, Entry, FileEntry, LinkEntry, PointerEntry
from zimage_syncd.model.failures import ManifestInvalid
from zimage_syncd.model.path import RelPath

HEAD = f'{{"chunk_bytes":{CHUNK_BYTES},"entries":['.encode()
"""How canonical JSON begins."""

_TAIL = b'],"format":'
_STARTS = (b',{"chunks":[', b',{"kind":"')
"""What follows the last entry, and how the next one begins. Neither is ever found inside a text, where a quote has a
backslash before it, nor at the end of one."""

_ENTRIES_A_PIECE = 1000
_WINDOW_BYTES = 2**18
"""How much is parsed at a time, at least one entry; as objects of the JSON library it takes five times as much."""

_LONG_CHARS = 2**16
"""A pointer's text that is longer is quoted in pieces: `trees/<commit>.json` of 100,000 files has 10 MB."""

_KEYS = {
    "file": frozenset({"kind", "path", "size_bytes", "mode", "sha256", "chunks"}),
    "link": frozenset({"kind", "path", "target"}),
    "pointer": frozenset({"kind", "path", "text", "mode"}),
}


class NotCanonical(ValueError):
    """What was read is no canonical JSON of a manifest."""


def pieces(entries: Iterable[Entry], rest: dict[str, object]) -> Iterator[bytes]:
    """The canonical JSON.

    Args:
        entries: at least one.
        rest: all other values but `chunk_bytes`.
    """
    yield HEAD
    yield from (text.encode() for text in texts(entries))
    yield b"]," + tail(rest)


def tail(rest: dict[str, object]) -> bytes:
    """What follows the entries and a comma."""
    return json.dumps(rest, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()[1:] + b"\n"


def texts(entries: Iterable[Entry]) -> Iterator[str]:
    """The canonical JSON of entries with commas between them, in pieces; a long text is never quoted as a whole."""
    walk = iter(entries)
    comma = ""
    while some := list(itertools.islice(walk, _ENTRIES_A_PIECE)):
        start = 0
        for at, entry in enumerate(some):
            if isinstance(entry, PointerEntry) and len(entry.text) > _LONG_CHARS:
                yield comma + "".join(f"{_entry_text(earlier)}," for earlier in some[start:at])
                yield from _long_pointer(entry)
                comma, start = ",", at + 1
        if start < len(some):
            yield comma + ",".join(map(_entry_text, some[start:]))
        comma = ","


def _long_pointer(entry: PointerEntry) -> Iterator[str]:
    yield f'{{"kind":"pointer","mode":{entry.mode},"path":{_quoted(entry.path)},"text":"'
    for at in range(0, len(entry.text), _LONG_CHARS):
        yield _quoted(entry.text[at : at + _LONG_CHARS])[1:-1]
    yield '"}'


def _entry_text(entry: Entry) -> str:
    """One entry's canonical JSON: keys in order; digests are hexadecimal and need no quoting."""
    match entry:
        case FileEntry():
            chunks = '","'.join(entry.chunks)
            quoted_chunks = f'"{chunks}"' if chunks else ""
            return (
                f'{{"chunks":[{quoted_chunks}],"kind":"file","mode":{entry.mode},'
                f'"path":{_quoted(entry.path)},"sha256":"{entry.sha256}","size_bytes":{entry.size_bytes}}}'
            )
        case LinkEntry():
            return f'{{"kind":"link","path":{_quoted(entry.path)},"target":{_quoted(entry.target)}}}'
        case PointerEntry():
            quoted = f'"path":{_quoted(entry.path)},"text":{_quoted(entry.text)}'
            return f'{{"kind":"pointer","mode":{entry.mode},{quoted}}}'


class Reading:
    """One manifest that is being read from its bytes.

    Args:
        data: all of them, in pieces of any size.
    """

    def __init__(self, data: Iterable[bytes]) -> None:
        self._data = iter(data)
        self._buffer = bytearray()
        self.tail = b""
        """What follows the entries and a comma, once they were all taken."""

    def entries(self) -> Iterator[Entry]:
        """Yields the entries as they come.

        Raises:
            NotCanonical, ValueError, TypeError, KeyError, AttributeError, RecursionError: this is no manifest.
            Failure: an entry is none that a manifest may have.
        """
        self._fill(len(HEAD))
        if not self._buffer.startswith(HEAD):
            raise NotCanonical("it does not begin as a manifest does")
        self._take(len(HEAD))
        wanted = _WINDOW_BYTES
        while True:
            more = self._fill(wanted)
            end = self._buffer.find(_TAIL)
            cut = end if end >= 0 else max(map(self._buffer.rfind, _STARTS))
            if cut > 0:
                yield from _entries(self._take(cut))
            if end >= 0:
                break
            if not more:
                raise NotCanonical("its end is missing")
            # A single entry, such as a long list, may be larger than a window.
            wanted = _WINDOW_BYTES if cut > 0 else 2 * wanted
            if cut >= 0:
                self._take(1)
        self._take(2)
        while self._fill(2 * len(self._buffer)):
            pass
        self.tail = bytes(self._buffer)

    def _fill(self, wanted: int) -> bool:
        """Takes bytes until there are as many as wanted; False where no more came."""
        before = len(self._buffer)
        while len(self._buffer) < wanted and (piece := next(self._data, None)) is not None:
            self._buffer += piece
        return len(self._buffer) > before or len(self._buffer) >= wanted

    def _take(self, count: int) -> str:
        """Some bytes as text, each as one character: canonical JSON is ASCII, and nothing else is taken for it."""
        text = self._buffer[:count].decode("latin-1")
        del self._buffer[:count]
        return text


_scan = json.JSONDecoder().raw_decode


def _entries(text: str) -> list[Entry]:
    found: list[Entry] = []
    at = 0
    while at < len(text):
        document, end = _scan(text, at)
        found.append(read_entry(document))
        at = end + 1
    at = 0
    for piece in texts(found):
        if not text.startswith(piece, at):
            raise NotCanonical("it is not in canonical form")
        at += len(piece)
    if at != len(text):
        raise NotCanonical("it is not in canonical form")
    return found


def read_entry(document: Any) -> Entry:  # noqa: ANN401 - JSON from outside; every access below checks its type
    """One entry, validated.

    Raises:
        Failure, TypeError, KeyError, AttributeError: it is none.
    """
    kind = document["kind"]
    path = RelPath(text_of(document["path"]))
    keys = _KEYS.get(kind)
    if keys is None:
        raise ManifestInvalid(path, f"an entry of the unknown kind {kind!r}")
    require_keys(document, keys)
    if kind == "link":
        return LinkEntry(path, text_of(document["target"]))
    if kind == "pointer":
        return PointerEntry(path, text_of(document["text"]), _integer(document["mode"]))
    chunks = document["chunks"]
    if not isinstance(chunks, list):
        raise ManifestInvalid(path, "chunks is not a list")
    return FileEntry(
        path,
        _integer(document["size_bytes"]),
        _integer(document["mode"]),
        text_of(document["sha256"]),
        tuple(map(text_of, chunks)),
    )


def require_keys(document: Any, keys: frozenset[str]) -> None:  # noqa: ANN401 - as above
    """Refuses whatever is no JSON object of exactly these keys."""
    if not isinstance(document, dict) or document.keys() != keys:
        raise ManifestInvalid("manifest", f"expected exactly the keys {', '.join(sorted(keys))}")


def text_of(value: object) -> str:
    """A JSON text."""
    if not isinstance(value, str):
        raise ManifestInvalid("manifest", f"expected text, found {value!r}"[:200])
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ManifestInvalid("manifest", f"expected an integer, found {value!r}"[:200])
    return value

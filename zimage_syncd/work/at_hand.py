"""Chunks that lie on this disk under other names: the same weights in another library's layout, mostly.

They lay there before, or have arrived in the same transfer, maybe in a file that has no final name yet.

A hint only: what is read is compared like everything else, and what is not right is fetched from a store.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from zimage_syncd.digest import read_pieces
from zimage_syncd.model.failures import BlobMissing, DiskError, Failure
from zimage_syncd.model.manifest import CHUNK_BYTES, FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.plan import Repair
from zimage_syncd.ports import Disk, ManifestShelf, SeenFile

NAME = "this disk"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies."""

    path: RelPath
    """In which file."""
    offset: int
    """Where it begins there, in bytes."""
    has_arrived: bool = False
    """Whether it came in this transfer: then it is in the file's partial as long as there is one. What lies under the
    file's own name until then may be what is under repair."""


class AtHand:
    """A `ports.ChunkSource` of what is on the disk.

    Args:
        disk: the cache; None: nothing is at hand.
        places: where chunks lie, by their BLAKE3.
        repeated: hashes (Python's) of the digests of chunks that are wanted more than once; only these are remembered
            when they arrive. None: all are.
    """

    def __init__(
        self,
        disk: Disk | None = None,
        places: Mapping[str, Place] | None = None,
        repeated: Container[int] | None = None,
    ) -> None:
        self._disk = disk
        self._places = dict(places or {})
        self._repeated = repeated
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """As reports show it."""
        return NAME

    def has(self, digest: str) -> bool:
        """Whether a chunk seems to be here."""
        return digest in self._places

    def forget(self, digest: str) -> None:
        """A chunk was not what it seemed to be."""
        with self._lock:
            self._places.pop(digest, None)

    def arrived(self, file: FileEntry, chunks: Iterable[int]) -> None:
        """Chunks of a file count: from now on they are here, in its partial or under its final name."""
        if self._disk is None:
            return
        with self._lock:
            for index in chunks:
                digest = file.chunks[index]
                if self._repeated is None or hash(digest) in self._repeated:
                    self._places.setdefault(digest, Place(file.path, index * CHUNK_BYTES, has_arrived=True))

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields one chunk of a file from wherever it lies (see `ports.ChunkSource.read`).

        Raises:
            BlobMissing: it is there no more.
            DiskError: the disk cannot give it.
        """
        place = self._places.get(file.chunks[offset // CHUNK_BYTES])
        if place is None or self._disk is None:
            raise BlobMissing(file.path, f"{NAME} does not have this chunk")
        descriptor = _opened(self._disk, place)
        if descriptor is None:
            raise BlobMissing(file.path, f"{NAME}: {place.path} is gone")
        try:
            yield from read_pieces(descriptor, place.offset, length, buffer)
        except OSError as error:
            raise DiskError(place.path, str(error.strerror)) from error
        finally:
            os.close(descriptor)

    def local_path(self, file: FileEntry) -> str | None:  # noqa: ARG002 - chunks, not files
        """Nothing is linked to what another snapshot owns."""
        return None


def _opened(disk: Disk, place: Place) -> int | None:
    """The file that holds a chunk; a partial that gets its final name while we look is found under that."""
    for path in (disk.partial_path(place.path), place.path) if place.has_arrived else (place.path,):
        with contextlib.suppress(FileNotFoundError):
            return disk.open_read(path)
    return None


def find_at_hand(
    disk: Disk,
    shelf: ManifestShelf,
    wanted: Callable[[], Iterable[FileEntry]],
    kept: Iterable[FileEntry] = (),
    repaired: Iterable[Repair] = (),
) -> AtHand:
    """Looks for chunks of files in what else the same cache holds.

    Of paths and digests only hashes are compared, since with 100,000 files they take tens of megabytes: where two are
    equal by accident, a chunk is looked for in vain, or not looked for.

    Args:
        disk: the cache.
        shelf: the last good manifests of its snapshots.
        wanted: gives the files that are to be gathered; themselves they are no source.
        kept: files of the same snapshot that are right.
        repaired: those of the wanted ones that are there with some wrong chunks; the others are a source. A repair
            begins with a copy of them, but one that was killed has left a partial without them.
    """
    own: set[int] = set()
    digests: set[int] = set()
    repeated: set[int] = set()
    for file in wanted():
        own.add(hash(file.path))
        for mark in map(hash, file.chunks):
            (repeated if mark in digests else digests).add(mark)
    places: dict[str, Place] = {}
    for action in repaired:
        for index in set(range(len(action.entry.chunks))).difference(action.chunks):
            places.setdefault(action.entry.chunks[index], Place(action.entry.path, index * CHUNK_BYTES))
    for file in itertools.chain(kept, _recorded(shelf)) if digests else ():
        if digests.isdisjoint(map(hash, file.chunks)) or hash(file.path) in own or not _is_there(disk, file):
            continue
        for index, digest in enumerate(file.chunks):
            if hash(digest) in digests:
                places.setdefault(digest, Place(file.path, index * CHUNK_BYTES))
    return AtHand(disk, places, repeated)


def _recorded(shelf: ManifestShelf) -> Iterator[FileEntry]:
    recorded = shelf.keys()
    for manifest in map(shelf.load, recorded):
        yield from manifest.files if manifest is not None else ()


def _is_there(disk: Disk, file: FileEntry) -> bool:
    try:
        seen = disk.look(file.path)
    except Failure:
        return False  # another snapshot's trouble is not this one's
    return isinstance(seen, SeenFile) and seen.stat.size_bytes == file.size_bytes

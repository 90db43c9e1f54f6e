"""A cache directory with everything that jobs need, on a real file system; and sources that misbehave on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.support.clock import HeldClock
from zimage_syncd.digest import FileHasher
from zimage_syncd.disk.ledger import SqliteLedger
from zimage_syncd.disk.quarantine import Quarantine
from zimage_syncd.disk.references import DiskReferences
from zimage_syncd.disk.shelf import DiskShelf
from zimage_syncd.disk.write import CacheDisk
from zimage_syncd.layouts.registry import all_layouts
from zimage_syncd.model.failures import BlobMissing, Stopped, StoreUnreachable
from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.work.site import Site


class QuietMonitor:
    """A `ports.Monitor` that counts."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.notes: list[str] = []
        self.bytes = 0

    def begin(self, task: str, total_bytes: int, *, restores: SnapshotKey | None = None) -> None:
        self.tasks.append(task)

    def advance(self, count_bytes: int) -> None:
        self.bytes += count_bytes

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finish(self) -> None:
        pass


class StopAfter:
    """A `ports.Cancel` that asks to stop after so many looks; never where that is None."""

    def __init__(self, looks: int | None = None) -> None:
        self.left = looks

    def check(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            raise Stopped("test")


class Bench:
    """A site in a temporary directory."""

    def __init__(self, directory: Path, clock: HeldClock) -> None:
        self.directory = directory
        self.root = directory / "data" / "cache"
        self.root.mkdir(parents=True)
        self.state = directory / "data" / ".zimage-syncd"
        self.state.mkdir()
        self.clock = clock
        self.monitor = QuietMonitor()
        self.cancel = StopAfter()
        self.disk = CacheDisk(str(self.root), Quarantine(str(self.state / "quarantine"), clock.now))
        self.ledger = SqliteLedger(str(self.state / "ledger.sqlite"))
        self.shelf = DiskShelf(str(self.state / "manifests"))
        self.references = DiskReferences(str(self.state / "references"))

    def site(self) -> Site:
        return Site(
            disk=self.disk,
            ledger=self.ledger,
            shelf=self.shelf,
            layouts=all_layouts(),
            clock=self.clock,
            monitor=self.monitor,
            cancel=self.cancel,
            host="test-host",
            references=self.references,
        )

    def partials(self) -> list[str]:
        return [str(place) for place in self.root.rglob(".zimage-syncd-*")]

    def quarantined(self) -> list[Path]:
        return [place for place in (self.state / "quarantine").rglob("*") if place.is_file()]


class BytesSource:
    """A `ports.ChunkSource` of files in memory that can corrupt, lose and refuse."""

    def __init__(self, name: str, contents: dict[str, bytes]) -> None:
        self.name = name
        self.contents = contents
        self.corrupt: set[tuple[str, int]] = set()
        self.unreachable = False
        self.reads: list[tuple[str, int, int]] = []

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        self.reads.append((file.path, offset, length))
        if self.unreachable:
            raise StoreUnreachable(self.name, "unplugged")
        if file.sha256 not in self.contents:
            raise BlobMissing(file.path, self.name)
        data = bytearray(self.contents[file.sha256][offset : offset + length])
        if (file.path, offset) in self.corrupt:
            data[len(data) // 2] ^= 0x10
        for start in range(0, len(data), len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]

    def local_path(self, file: FileEntry) -> str | None:
        return None


def entry_of(path: str, data: bytes, mode: int = 0o644) -> FileEntry:
    """The manifest's entry for a file of this content."""
    hasher = FileHasher(len(data))
    hasher.update(data)
    digests = hasher.digests()
    return FileEntry(RelPath(path), len(data), mode, digests.sha256, digests.chunks)

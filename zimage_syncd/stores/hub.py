"""A hub as a source of chunks: the files of one snapshot, read from their publisher at the snapshot's revision.

Knows no hub in particular: `hub_huggingface` and `hub_modelscope` say where a file lies and who asks. Verifies
nothing but lengths; a chunk's digest is the transfer's business. No message holds a token, or an address that a
redirect led to, since such addresses are signed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zimage_syncd.model.failures import BlobMissing, Failure
from zimage_syncd.model.manifest import FileEntry, Manifest
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import LayoutName, SnapshotKey
from zimage_syncd.ports import ChunkSource

if TYPE_CHECKING:
    from zimage_syncd.stores.hub_connection import HubConnection

Names = Callable[[Manifest], Mapping[RelPath, str]]
"""Names in the repository by the payload's paths (see `ports.Layout.published`)."""

Sleep = Callable[[float], None]
"""Waits for so many seconds; may raise to stop."""


@dataclass(frozen=True, slots=True)
class Access:
    """How one repository of a hub is reached, as the hub's own library knows it."""

    url_of: Callable[[str], str]
    """The address of a file, by its name in the repository."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of every request."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers that the hub alone is sent, never what it redirects to; empty: nobody in particular asks."""


Reach = Callable[[SnapshotKey], Access]
"""Asks the hub's library, which is imported now.

Raises:
    StoreUnreachable: the hub must not be asked.
    StoreDenied: its library has no use for the credentials that are there.
"""


class PublishedHub:
    """A `ports.Hub`.

    Args:
        name: as restore.order calls it.
        layouts: those of its library.
        names: which file of the repository each payload file is.
        reach: see `Reach`.
        sleep: waits between attempts.
    """

    def __init__(self, name: str, layouts: frozenset[LayoutName], names: Names, reach: Reach, sleep: Sleep) -> None:
        self.name = name
        self._layouts = layouts
        self._names = names
        self._reach = reach
        self._sleep = sleep

    def serves(self, key: SnapshotKey) -> bool:
        """Whether this hub's library has laid the snapshot out."""
        return key.layout in self._layouts

    def for_manifest(self, manifest: Manifest) -> ChunkSource:
        """Its payload, at the manifest's revision."""
        return PublishedFiles(self.name, manifest, self._names, self._reach, self._sleep)

    def __repr__(self) -> str:
        return f"PublishedHub({self.name})"


class PublishedFiles:
    """A `ports.ChunkSource`: the payload of one manifest as its hub has it."""

    def __init__(self, name: str, manifest: Manifest, names: Names, reach: Reach, sleep: Sleep) -> None:
        self.name = name
        self._manifest = manifest
        self._find_names = names
        self._reach = reach
        self._sleep = sleep
        self._lock = threading.Lock()
        self._opened: tuple[Mapping[RelPath, str], HubConnection] | None = None

    def _open(self) -> tuple[Mapping[RelPath, str], HubConnection]:
        """The names and the connection: one for all threads, since it learns where the hub redirects to."""
        # Here, since a restore that never needs the hub need not wait for its HTTP client.
        from zimage_syncd.stores.hub_connection import HubConnection  # noqa: PLC0415

        with self._lock:
            if self._opened is None:
                access = self._reach(self._manifest.key)
                self._opened = self._find_names(self._manifest), HubConnection(self.name, access)
            return self._opened

    def read(self, file: FileEntry, offset: int, length: int, buffer: memoryview) -> Iterator[memoryview]:
        """Yields exactly `length` bytes of a file from `offset`, in views of `buffer`. Nothing is verified.

        Raises:
            BlobMissing: the repository does not have the file, or in another size.
            StoreUnreachable, StoreDenied, StoreBroken: as their names say.
        """
        from zimage_syncd.stores.hub_read import HubRead  # noqa: PLC0415

        try:
            names, connection = self._open()
        except Failure as failure:
            # Of one file's chunk, so that a report can say which file it was.
            raise type(failure)(f"{self.name}: {file.path}", failure.detail) from failure
        published = names.get(file.path)
        if published is None:
            raise BlobMissing(file.path, f"{self.name}: the publisher's repository has no such file")
        return HubRead(connection, published, file.size_bytes, self._sleep).pieces(offset, length, buffer)

    def is_reserved(self) -> bool:
        """A hub is far away and counts requests: it is asked for what no store has intact."""
        return True

    def local_path(self, file: FileEntry) -> str | None:  # noqa: ARG002 - the port's
        """None: a hub is nowhere mounted."""
        return None

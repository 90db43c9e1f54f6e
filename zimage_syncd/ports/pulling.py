"""Other processes that fetch beside this one: Python's lock keeps one process from using many cores."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from zimage_syncd.model.manifest import FileEntry
from zimage_syncd.ports.progress import OnBytes
from zimage_syncd.ports.sources import ChunkSource


@runtime_checkable
class Reopenable(ChunkSource, Protocol):
    """A source that another process of this program can read from as well."""

    def recipe(self) -> bytes | None:
        """What `zimage_syncd.pulling` opens it by, JSON; None where it cannot be."""

    def address_of(self, file: FileEntry) -> str:
        """How that process calls a file's content."""


class Puller(Protocol):
    """Another process, for one worker; used by one thread at a time."""

    def pull(
        self, entry: FileEntry, chunks: range, file: int, on_piece: OnBytes, check: Callable[[], None]
    ) -> Generator[tuple[int, str], None, None]:
        """Yields the index of every chunk as it has been written, and the digest of what was written.

        Ends early where something stands in the way, and does not say what: whoever asks here again meets it. When the
        iterator is closed, nobody writes to the file any more.

        Args:
            entry: which file.
            chunks: neighbouring ones that it lacks.
            file: what its partial lends, written to.
            on_piece: is told of bytes, and of 0 with every sign of life; may raise to stop.
            check: called several times a second; may raise to stop.
        """


class NoPuller(enum.Enum):
    """Why no process fetches for a worker."""

    COMING = enum.auto()
    """It is being started, and will be there in a moment."""
    NEVER = enum.auto()
    """The worker does without."""


class Team(Protocol):
    """The processes of one transfer."""

    @property
    def size(self) -> int:
        """How many there are at most; 0: none."""

    def puller(self, worker: int, source: ChunkSource) -> Puller | NoPuller:
        """What fetches from a source for a worker (from 0), or why nothing does."""


class Pullers(Protocol):
    """Starts processes where they are worth it."""

    def team(self, sources: Sequence[ChunkSource], count_bytes: int) -> AbstractContextManager[Team]:
        """Processes for one transfer, gone when the context is left.

        Args:
            sources: what it reads from, the nearest first.
            count_bytes: how much it will fetch.
        """


class Alone:
    """No other processes; a `Pullers`, and its `Team`."""

    size = 0

    def team(self, sources: Sequence[ChunkSource], count_bytes: int) -> AbstractContextManager[Team]:  # noqa: ARG002
        """Itself."""
        return nullcontext(self)

    def puller(self, worker: int, source: ChunkSource) -> NoPuller:  # noqa: ARG002
        """`NoPuller.NEVER`."""
        return NoPuller.NEVER

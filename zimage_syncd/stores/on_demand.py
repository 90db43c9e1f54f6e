"""Stores that are opened when they are asked for: what needs none waits for no client and no credentials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from zimage_syncd.ports import SnapshotSource


class OpenedOnDemand(Sequence[SnapshotSource]):
    """Stores in an order, each opened when it is reached.

    Args:
        names: what they are called, the nearest first.
        open_store: opens one; is asked again each time, and may raise what its adapter raises.
    """

    def __init__(self, names: Sequence[str], open_store: Callable[[str], SnapshotSource]) -> None:
        self._names = names
        self._open_store = open_store

    def __len__(self) -> int:
        """How many there are; opens none."""
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> SnapshotSource: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SnapshotSource]: ...
    def __getitem__(self, index: int | slice) -> SnapshotSource | Sequence[SnapshotSource]:
        """The store at a position, opened; of a slice, none is yet."""
        if isinstance(index, slice):
            return OpenedOnDemand(self._names[index], self._open_store)
        return self._open_store(self._names[index])

"""An object store that works, and misbehaves in the ways that a test asks for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from tests.support.clock import HeldClock
from zimage_syncd.model.failures import Failure
from zimage_syncd.stores.memory import MemoryStore
from zimage_syncd.stores.object_store import ObjectInfo, OpenUpload

Hook = Callable[[str, str], None]
"""Is told an operation (`get`, `put`, ...) and the key or prefix; may raise, wait, or change the store."""


def fixed_clock() -> HeldClock:
    """A held clock that begins at the same moment in every run."""
    clock = HeldClock()
    clock.moment = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
    return clock


def nothing(operation: str, key: str) -> None:
    """Lets everything pass."""


class ScriptedStore(MemoryStore):
    """A `MemoryStore` with hooks, counts and switches.

    Attributes:
        before, after: called around every operation.
        ignores_conditions: `create` replaces, and tells every creator that it was the one (`rclone serve s3`).
        holds_writes: what is written is acknowledged and appears only at `release`.
        failing: operations that fail, and how.
        calls: how often each operation was asked for.
    """

    def __init__(self, clock_now: Callable[[], datetime], *, ignores_conditions: bool = False) -> None:
        super().__init__(clock_now)
        self.before: Hook = nothing
        self.after: Hook = nothing
        self.ignores_conditions = ignores_conditions
        self.holds_writes = False
        self.failing: dict[str, Failure] = {}
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[str, str]] = []
        self._held: list[tuple[str, bytes]] = []
        self._log_lock = threading.Lock()

    def listed(self, prefix: str = "") -> list[str]:
        """What is there, without being counted."""
        return [info.key for info in super().scan(prefix)]

    def release(self) -> None:
        """Lets held writes appear, in order."""
        for key, data in self._held:
            super().put(key, data)
        self._held.clear()

    def check(self) -> None:
        self._enter("check", "")

    def get(self, key: str, max_bytes: int) -> bytes:
        self._enter("get", key)
        data = super().get(key, max_bytes)
        self.after("get", key)
        return data

    def put(self, key: str, data: bytes) -> None:
        self._enter("put", key)
        self._write(key, data)
        self.after("put", key)

    def create(self, key: str, data: bytes) -> bool:
        self._enter("create", key)
        made = self.ignores_conditions or super().head(key) is None
        if made:
            self._write(key, data)
        self.after("create", key)
        return made

    def head(self, key: str) -> ObjectInfo | None:
        self._enter("head", key)
        info = super().head(key)
        self.after("head", key)
        return info

    def scan(self, prefix: str) -> Iterator[ObjectInfo]:
        self._enter("scan", prefix)
        found = list(super().scan(prefix))
        self.after("scan", prefix)
        return iter(found)

    def delete(self, key: str) -> None:
        self._enter("delete", key)
        super().delete(key)
        self.after("delete", key)

    def open_uploads(self, prefix: str) -> list[OpenUpload]:
        self._enter("open_uploads", prefix)
        return super().open_uploads(prefix)

    def _write(self, key: str, data: bytes) -> None:
        if self.holds_writes:
            self._held.append((key, data))
        else:
            super().put(key, data)

    def _enter(self, operation: str, key: str) -> None:
        with self._log_lock:
            self.calls[operation] += 1
            self.log.append((operation, key))
        self.before(operation, key)
        if operation in self.failing:
            raise self.failing[operation]

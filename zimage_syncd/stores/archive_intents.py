"""Intents: what backups under way rely on, so that nobody deletes it meanwhile.

An intent lives while it is renewed: one that was not written for an hour, by the server's clock, is dead.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import Self

from zimage_syncd.model.failures import Failure, ObjectMissing, StoreBroken
from zimage_syncd.ports import Clock
from zimage_syncd.stores.archive_documents import (
    MAX_HOST_CHARS,
    MAX_LIST_BYTES,
    Document,
    host_text,
    time_text,
    to_bytes,
)
from zimage_syncd.stores.archive_keys import INTENTS, intent_key, is_intent, is_sha256
from zimage_syncd.stores.keys import owner_mark
from zimage_syncd.stores.object_store import ObjectInfo, ObjectStore

_RENEW_AFTER_S = 300.0
_DEAD_AFTER = timedelta(hours=1)


class Intents:
    """Writes this owner's intents and reads all.

    Args:
        store: where they lie.
        clock: for the time of renewal.
        owner: whose backups these are; only one process at a time works for an owner.
        host: this machine's name, for people.
    """

    def __init__(self, store: ObjectStore, clock: Clock, owner: str, host: str) -> None:
        self._store = store
        self._clock = clock
        self._owner = host_text(owner)
        self._host = host_text(host)

    def announce(self, blobs: Iterable[str]) -> OpenIntent:
        """An intent that appears when it is entered; what is no sha256 names no blob, and is left out."""
        key = intent_key(owner_mark(self._host), uuid.uuid4().hex)
        listed = sorted({blob for blob in blobs if is_sha256(blob)})
        values: dict[str, object] = {"owner": self._owner, "host": self._host, "blobs": listed}
        return OpenIntent(self._store, self._clock, key, values)

    def remove_own(self) -> None:
        """Deletes what a crash of this owner's process left."""
        for info in self._all():
            with contextlib.suppress(ObjectMissing, StoreBroken):  # a broken one cannot be told to be ours
                if self._read(info).text("owner", MAX_HOST_CHARS) == self._owner:
                    self._store.delete(info.key)

    def needed_by_others(self, sha256: str) -> bool:
        """Whether a live intent of another owner lists a blob, or one that cannot be read might."""
        others = [info for info in self._all() if self._may_need(info, sha256)]
        return bool(others) and any(self._store.now() - info.modified_at < _DEAD_AFTER for info in others)

    def _may_need(self, info: ObjectInfo, sha256: str) -> bool:
        try:
            document = self._read(info)
            return document.text("owner", MAX_HOST_CHARS) != self._owner and sha256 in document.digests("blobs")
        except ObjectMissing:
            return False
        except StoreBroken:
            return True

    def _all(self) -> list[ObjectInfo]:
        return [info for info in self._store.scan(INTENTS) if is_intent(info.key)]

    def _read(self, info: ObjectInfo) -> Document:
        return Document(self._store, info.key, MAX_LIST_BYTES)


class OpenIntent:
    """One intent, there from `__enter__` to `__exit__`; safe to renew from several threads."""

    def __init__(self, store: ObjectStore, clock: Clock, key: str, values: dict[str, object]) -> None:
        self._store = store
        self._clock = clock
        self._key = key
        # As it is written, but for the time, whose key sorts last: of 100,000 digests the list itself is 12 MB.
        self._beginning = to_bytes(values).removesuffix(b"}\n")
        self._lock = threading.Lock()
        self._written_s = 0.0

    def __enter__(self) -> Self:
        """Writes it."""
        with self._lock:
            self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Deletes it.

        A store that cannot be reached now neither hides why the backup ended nor makes a good one a failure: what
        stays is dead within the hour and deleted by the owner's next run.
        """
        with self._lock, contextlib.suppress(Failure):
            self._store.delete(self._key)

    def renew(self) -> None:
        """Writes it again when it is older than 5 minutes; cheap to call often."""
        with self._lock:
            if self._clock.monotonic_s() - self._written_s >= _RENEW_AFTER_S:
                self._write()

    def _write(self) -> None:
        # The time is taken first: a write that takes long must not make the intent seem younger than it is.
        written_s = self._clock.monotonic_s()
        end = f',"renewed_at":"{time_text(self._clock.now())}"}}\n'
        self._store.put(self._key, self._beginning + end.encode())
        self._written_s = written_s

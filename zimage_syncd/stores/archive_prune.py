"""Blobs that somebody is about to delete: whoever needs one of them uploads it again."""

from __future__ import annotations

from datetime import datetime

from zimage_syncd.model.failures import ObjectMissing
from zimage_syncd.stores.archive_documents import MAX_LIST_BYTES, Document
from zimage_syncd.stores.archive_keys import PRUNES, is_prune
from zimage_syncd.stores.object_store import ObjectInfo, ObjectStore


class Candidates:
    """The candidates of all prunes under way, as they were when this was made.

    Args:
        store: where their lists lie.

    Raises:
        StoreBroken: a list cannot be understood, so nobody knows which blobs will stay.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._listed_at: dict[str, datetime] = {}
        for info in store.scan(PRUNES):
            if is_prune(info.key):
                self._add(store, info)

    def _add(self, store: ObjectStore, info: ObjectInfo) -> None:
        try:
            blobs = Document(store, info.key, MAX_LIST_BYTES).digests("candidates")
        except ObjectMissing:
            return
        for sha256 in blobs:
            self._listed_at[sha256] = max(info.modified_at, self._listed_at.get(sha256, info.modified_at))

    def has(self, sha256: str, blob: ObjectInfo) -> bool:
        """Whether a blob may be deleted soon; one that was written after the list was is a candidate no more."""
        listed_at = self._listed_at.get(sha256)
        return listed_at is not None and blob.modified_at <= listed_at

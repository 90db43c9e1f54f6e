"""The object that says: here is an archive, and of which format."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

from zimage_syncd.model.failures import FormatUnknown, NotAnArchive, ObjectMissing, StoreMissing
from zimage_syncd.model.manifest import FORMAT
from zimage_syncd.model.private import STATE_DIRECTORY
from zimage_syncd.stores.archive_documents import MAX_SMALL_BYTES, Document, time_text, to_bytes
from zimage_syncd.stores.archive_keys import BLOBS, INTENTS, MANIFESTS, MARKER_KEY, PRUNES, REFS
from zimage_syncd.stores.object_store import ObjectStore

_TOOL = "zimage-syncd"

_TAKEN = (BLOBS, MANIFESTS, REFS, INTENTS, PRUNES, f"{STATE_DIRECTORY}/")
"""Without a marker these are another format's, a repository of a Hugging Face cache, or a cache tree."""


@runtime_checkable
class Makeable(Protocol):
    """A store whose place can be made: a directory, not a bucket."""

    def make(self) -> None:
        """Makes it where it is not there."""


@runtime_checkable
class Vacant(Protocol):
    """A store that can tell a place that was never used from one that is out of reach."""

    def can_be_made(self) -> bool:
        """Whether only the place itself is missing."""


def require_archive(store: ObjectStore) -> None:
    """Makes sure that an archive of a known format is there. Writes nothing.

    Raises:
        NotAnArchive: none is there.
        FormatUnknown: another version wrote it.
        StoreMissing, StoreDenied, StoreUnreachable: it cannot be seen.
    """
    try:
        marked = _marked(store)
    except StoreMissing as failure:
        if isinstance(store, Vacant) and store.can_be_made():
            raise NotAnArchive(store.describe(), "nothing is there yet; the first backup makes it") from failure
        raise
    if not marked:
        store.check()  # a store that does not exist is a clearer answer
        raise NotAnArchive(store.describe(), f"expected {MARKER_KEY}, found none")


def prepare_archive(store: ObjectStore, now: datetime) -> None:
    """Makes an archive where none is.

    Args:
        store: where.
        now: for the marker, UTC.

    Raises:
        FormatUnknown: another version wrote what is there.
        StoreMissing, StoreDenied, StoreUnreachable: it cannot be written to.
    """
    if isinstance(store, Makeable):
        store.make()
    store.check()
    if _marked(store):
        return
    taken = next((info.key for prefix in _TAKEN for info in store.scan(prefix)), None)
    # Looked at again: another host may have made the archive and filled it since.
    if taken is not None and not _marked(store):
        raise FormatUnknown(store.describe(), f"it holds {taken} but no {MARKER_KEY}, expected an archive or nothing")
    document: dict[str, object] = {"format": FORMAT, "tool": _TOOL, "created_at": time_text(now)}
    store.create(MARKER_KEY, to_bytes(document))
    require_archive(store)


def _marked(store: ObjectStore) -> bool:
    try:
        document = Document(store, MARKER_KEY, MAX_SMALL_BYTES)
    except ObjectMissing:
        return False
    found, tool = document.value("format"), document.value("tool")
    if type(found) is not int or found != FORMAT or tool != _TOOL:
        detail = f"format {found!r:.40} of {tool!r:.40}, expected format {FORMAT} of {_TOOL!r}"
        raise FormatUnknown(document.subject, detail)
    return True

"""Archives for tests of what lies in them."""

from __future__ import annotations

from tests.support.clock import HeldClock
from tests.support.object_store import ScriptedStore, fixed_clock
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import SnapshotKey
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.object_store import ObjectStore


def owns(key: SnapshotKey, path: RelPath) -> bool:
    """What layouts say, roughly: the two top directories of caches."""
    return path.startswith(("hub/", "models/"))


class Desk:
    """A scripted store, a held clock, and archives of several owners on them."""

    def __init__(self, *, ignores_conditions: bool = False) -> None:
        self.clock: HeldClock = fixed_clock()
        self.store = ScriptedStore(self.clock.now, ignores_conditions=ignores_conditions)

    def archive(self, owner: str = "cache-1", *, prepared: bool = True) -> ObjectArchive:
        archive = archive_on(self.store, self.clock, owner)
        if prepared:
            archive.prepare()
        return archive


def archive_on(store: ObjectStore, clock: HeldClock, owner: str = "cache-1") -> ObjectArchive:
    return ObjectArchive("bucket", store, clock, owner, owns, host=f"host-of-{owner}")

"""A cache that the real modelscope_hub wrote, through backup, loss and restore, and back in the library's hands."""

from __future__ import annotations

import os
import shutil

from tests.support.caches import listing
from tests.support.hub_clients import modelscope_download
from tests.support.modelscope_hub import LoopbackModelScopeHub
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import CannotTell, LocalSnapshot
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource

ALL = Selection()
FILES = pipeline_files()


def found(bench: Bench) -> list[LocalSnapshot]:
    return [snapshot for layout in bench.site().layouts for snapshot in layout.find(str(bench.root), ())]


def test_a_restored_cache_serves_the_library_without_the_hub(bench: Bench) -> None:
    place = bench.directory / "bucket"
    place.mkdir()
    store = DirectoryStore(str(place), "owner-1")
    archive = ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")
    with LoopbackModelScopeHub({"org/pi.pe": FILES}) as hub:
        modelscope_download(bench.root, hub.endpoint, {"model_id": "org/pi.pe"})
        (snapshot,) = found(bench)
        assert isinstance(snapshot.completeness, CannotTell)
        assert snapshot.completeness.satisfied
        os.chmod(bench.root / snapshot.files[0].path, 0o600)
        before = {path: entry for path, entry in listing(bench.root).items() if path.startswith("models/")}
        assert len(before) == len(FILES)
        assert backup(bench.site(), [archive], ALL, accept_changed=False).exit_code == 0
        shutil.rmtree(bench.root)
        bench.root.mkdir()
        assert restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], ALL).exit_code == 0
        assert listing(bench.root) == before
        assert bench.partials() == []
        asked = len(hub.requests)
        call = {"model_id": "org/pi.pe", "local_files_only": True}
        assert modelscope_download(bench.root, hub.endpoint, call) == [str(bench.root / snapshot.directory)]
        assert len(hub.requests) == asked

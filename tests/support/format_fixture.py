"""The script that made tests/fixtures/format-1: `python -m tests.support.format_fixture DIRECTORY`.

The fixture is never made again: it stands for archives that users have. A later format gets a directory of its own.
"""

from __future__ import annotations

import sys

from tests.support.archives import archive_on
from tests.support.manifests import COMMIT, key_of, manifest_with, upload
from tests.support.object_store import fixed_clock
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.snapshot import LayoutName, RepoType
from zimage_syncd.stores.archive_documents import to_bytes
from zimage_syncd.stores.archive_keys import RefKey
from zimage_syncd.stores.directory import DirectoryStore

WEIGHTS = b"not really weights, but these bytes are what they are\n" * 3
CONFIG = b'{"_class_name": "Painter"}\n'
NEW_CONFIG = b'{"_class_name": "Painter", "steps": 9}\n'

_WEIGHTS_SHA = "1914e55a4d75f80abdfb15431aaffb7e39f545b6bb3a1120775d61a43b591abd"
_CONFIG_SHA1 = "3002a4aa74ab76328e670611168aee920b27f2dc"
_HF = "hub/models--acme--painter"
_MS = "models/acme--painter/snapshots/master"
_DATA = "hub/datasets--acme--painter"


def contents() -> list[tuple[Manifest, dict[str, bytes]]]:
    """The snapshots of the fixture, with the bytes of their files."""
    hub_files = {f"{_HF}/blobs/{_WEIGHTS_SHA}": WEIGHTS, f"{_HF}/blobs/{_CONFIG_SHA1}": CONFIG}
    hub = manifest_with(
        hub_files,
        key_of(),
        links={
            f"{_HF}/snapshots/{COMMIT}/model.safetensors": f"../../blobs/{_WEIGHTS_SHA}",
            f"{_HF}/snapshots/{COMMIT}/text encoder/config.json": f"../../../blobs/{_CONFIG_SHA1}",
        },
        pointers={f"{_HF}/refs/main": COMMIT, f"{_HF}/refs/refs/pr/1": COMMIT, f"{_HF}/.no_exist/{COMMIT}/x": ""},
    )
    snapshots = [(hub, hub_files)]
    for config in (CONFIG, NEW_CONFIG):
        files = {f"{_MS}/model.safetensors": WEIGHTS, f"{_MS}/config.json": config}
        snapshots.append((manifest_with(files, key_of(revision="master", layout=LayoutName.MODELSCOPE)), files))
    odd = {f"{_DATA}/snapshots/{COMMIT}/50% ü\n\udcff": b"", f"{_DATA}/snapshots/{COMMIT}/-rf": b"x"}
    snapshots.append((manifest_with(odd, key_of(kind=RepoType.DATASET), pointers={f"{_DATA}/refs/main": COMMIT}), odd))
    return snapshots


def make(directory: str) -> None:
    """Makes the archive: four snapshots, names with slashes, a history with a tie, an intent, a list of candidates."""
    clock = fixed_clock()
    store = DirectoryStore(directory, "fixture")
    archive = archive_on(store, clock, "fixture")
    archive.prepare()
    hub, old, new, odd = (manifest for manifest, _ in contents())
    for manifest, files in contents():
        upload(archive, manifest, files)
    archive.publish(hub, ("main", "refs/pr/1"), "gpu-7")
    archive.publish(odd, ("main",), "gpu-7")
    archive.publish(old, ("master",), "gpu-7")
    clock.move(3600)
    archive.publish(new, ("master",), "gpu-8")
    newest = archive.history(new.key.layout, new.key.repo, "master")[0]
    for twin in (old, new):
        # As two writers leave them that wrote at one moment, of which one died before it looked again.
        ref = RefKey(key_of(revision="master", layout=LayoutName.MODELSCOPE), newest.sequence + 1, twin.id)
        document: dict[str, object] = {
            "manifest": twin.id,
            "parent": RefKey(ref.place, newest.sequence, newest.manifest_id).key,
            "created_at": "2026-11-24T05:00:00Z",
            "host": "gpu-9",
        }
        store.create(ref.key, to_bytes(document))
    intent: dict[str, object] = {"owner": "another", "host": "gpu-6", "blobs": [], "renewed_at": "2026-11-24T03:00:00Z"}
    store.put("intents/gpu-6-0123456789abcdef0123456789abcdef.json", to_bytes(intent))
    unused = "ab" * 32
    candidates: dict[str, object] = {"created_at": "2026-11-24T03:00:00Z", "candidates": [unused]}
    store.put("prune/0123456789abcdef0123456789abcdef.json", to_bytes(candidates))


if __name__ == "__main__":
    make(sys.argv[1])

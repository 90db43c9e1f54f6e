"""Caches that the real huggingface_hub wrote, through backup, loss and restore, and back in the library's hands."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import listing
from tests.support.hf_hub import LoopbackHfHub, etag
from tests.support.hub_clients import client_environment, hf_command, hf_download, run_client
from tests.support.site import Bench
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.demo.hub import DemoHub
from zimage_syncd.model.plan import LinkMode
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.snapshot import Complete
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore
from zimage_syncd.work.backup import backup
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource

ALL = Selection()
FILES = pipeline_files()
SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
XET_HASH = "ab" * 32
PAYLOAD = f"hub/blobs/ab/{XET_HASH}"

_SHARE = """
import os, sys
from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store, try_link_from_shared_store
hub, xet_hash, first, second = sys.argv[1:]
call = {"xet_hash": xet_hash, "cache_dir": hub, "expected_size": os.path.getsize(first)}
if not publish_blob_to_shared_store(blob_path=first, **call):
    sys.exit("not published")
os.unlink(second)
if not try_link_from_shared_store(blob_path=second, **call):
    sys.exit("not linked")
"""

_SWEEP = """
import json, sys
from huggingface_hub.utils._shared_blobs import shared_store_blob_paths, sweep_shared_blob
hub = sys.argv[1]
print(json.dumps([sweep_shared_blob(path, cache_dir=hub) for path in sorted(shared_store_blob_paths(hub))]))
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHfHub]:
    with LoopbackHfHub({"org/pipe": FILES, "org/copy": FILES}) as server:
        yield server


@pytest.fixture
def archive(bench: Bench) -> ObjectArchive:
    place = bench.directory / "bucket"
    place.mkdir()
    store = DirectoryStore(str(place), "owner-1")
    return ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")


@pytest.fixture
def shared(bench: Bench, hub: LoopbackHfHub) -> Path:
    """Two repositories' copies of one shard, made one payload by the library; gives the hub's directory."""
    hf_download(bench.root, hub.endpoint, {"repo_id": "org/pipe"}, {"repo_id": "org/copy"})
    home = bench.root / "hub"
    blobs = [str(blob_link(home, name)) for name in ("pipe", "copy")]
    command = [sys.executable, "-c", _SHARE, str(home), XET_HASH, *blobs]
    run_client(command, client_environment(bench.root, HF_HUB_DISABLE_XET="0"))
    assert all(os.path.islink(blob) for blob in blobs)
    return home


def blob_link(home: Path, name: str) -> Path:
    return home / f"models--org--{name}" / "blobs" / etag(SHARD, FILES[SHARD])


def library_sweep(bench: Bench) -> list[int]:
    """Bytes that the library's garbage collector frees, for each shared payload."""
    command = [sys.executable, "-c", _SWEEP, str(bench.root / "hub")]
    freed: list[int] = json.loads(run_client(command, client_environment(bench.root)))
    return freed


def references(home: Path) -> set[str]:
    return set((home / "blobs" / "ab" / f"{XET_HASH}.refs").read_text().splitlines())


def payload_listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything but locks, the tag file, and the books of shared blobs."""
    books = (".refs", ".lock", "CACHEDIR.TAG", ".huggingface-shared-blobs")
    return {path: entry for path, entry in listing(root).items() if not path.endswith(books)}


def back_up(bench: Bench, archive: ObjectArchive) -> None:
    report = backup(bench.site(), [archive], ALL, accept_changed=False)
    assert report.exit_code == 0, report.findings
    assert {result.action for result in report.snapshots} == {"backed up"}


def bring_back(bench: Bench, archive: ObjectArchive) -> None:
    report = restore(bench.site(), [RestoreSource(archive, LinkMode.AUTO)], ALL)
    assert report.exit_code == 0, report.findings
    assert bench.partials() == []


def wipe(bench: Bench) -> None:
    shutil.rmtree(bench.root)
    bench.root.mkdir()


def found_complete(bench: Bench) -> bool:
    answers = [found.completeness for layout in bench.site().layouts for found in layout.find(str(bench.root), ())]
    return bool(answers) and all(isinstance(answer, Complete) for answer in answers)


def verified(bench: Bench, endpoint: str, repo: str) -> str:
    command = [os.path.join(os.path.dirname(sys.executable), "hf"), "cache", "verify", repo]
    return run_client(command, client_environment(bench.root, HF_ENDPOINT=endpoint, NO_COLOR="1"))


def test_a_restored_cache_serves_the_library_offline_and_passes_its_own_verification(
    bench: Bench, archive: ObjectArchive, hub: LoopbackHfHub
) -> None:
    hf_download(bench.root, hub.endpoint, {"repo_id": "org/pipe"})
    assert found_complete(bench)
    before = payload_listing(bench.root)
    back_up(bench, archive)
    wipe(bench)
    bring_back(bench, archive)
    assert payload_listing(bench.root) == before
    offline = client_environment(bench.root, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    directory = run_client(hf_command({"repo_id": "org/pipe", "local_files_only": True}), offline)
    assert directory == str(bench.root / "hub/models--org--pipe/snapshots" / hub.head("org/pipe"))
    assert "checked: 13" in verified(bench, hub.endpoint, "org/pipe")


def test_the_librarys_verification_fails_on_a_flipped_bit(bench: Bench, hub: LoopbackHfHub) -> None:
    """Without this, a pass above could mean that it looked at nothing."""
    hf_download(bench.root, hub.endpoint, {"repo_id": "org/pipe"})
    blob = blob_link(bench.root / "hub", "pipe")
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(AssertionError, match=f"{SHARD}: expected {etag(SHARD, FILES[SHARD])}"):
        verified(bench, hub.endpoint, "org/pipe")


def test_the_librarys_sweep_deletes_nothing_after_a_restore(bench: Bench, archive: ObjectArchive, shared: Path) -> None:
    before, books = payload_listing(bench.root), references(shared)
    back_up(bench, archive)
    wipe(bench)
    bring_back(bench, archive)
    assert payload_listing(bench.root) == before
    assert references(shared) == books
    assert library_sweep(bench) == [0]
    assert (bench.root / PAYLOAD).read_bytes() == FILES[SHARD]
    for name in ("pipe", "copy"):
        blob_link(shared, name).unlink()
    assert library_sweep(bench) == [len(FILES[SHARD])]


@pytest.mark.parametrize(("lost", "kept"), [("pipe", "copy"), ("copy", "pipe")])
def test_a_restore_beside_another_repository_keeps_both_references(
    bench: Bench, archive: ObjectArchive, shared: Path, lost: str, kept: str
) -> None:
    """A `.refs` that forgot one repository made a sweep delete its payload."""
    before, books = payload_listing(bench.root), references(shared)
    assert len(books) == 2
    back_up(bench, archive)
    shutil.rmtree(shared / f"models--org--{lost}")
    assert library_sweep(bench) == [0]
    assert [line.split("/")[0] for line in references(shared)] == [f"models--org--{kept}"]
    bring_back(bench, archive)
    assert payload_listing(bench.root) == before
    assert references(shared) == books
    blob_link(shared, lost).unlink()
    assert library_sweep(bench) == [0]
    assert blob_link(shared, kept).read_bytes() == FILES[SHARD]


def test_the_demos_hub_is_good_enough_for_the_real_client(bench: Bench) -> None:
    with DemoHub("org/pipe", FILES) as server:
        hf_download(bench.root, server.endpoint, {"repo_id": "org/pipe"})
        assert found_complete(bench)
        assert "checked: 13" in verified(bench, server.endpoint, "org/pipe")

"""Caches that the real huggingface_hub wrote, from a hub on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.hf_hub import LoopbackHfHub, etag
from tests.support.hub_clients import client_environment, hf_command, hf_download, run_client
from tests.support.tiny_safetensors import pipeline_files
from zimage_syncd.layouts.registry import layout_of
from zimage_syncd.model.path import resolve_link
from zimage_syncd.model.snapshot import CannotTell, Complete, Incomplete, LayoutName

FILES = pipeline_files()
SHARD = "transformer/diffusion_pytorch_model-00002-of-00002.safetensors"
LAYOUT = layout_of(LayoutName.HUGGINGFACE)

_PUBLISH = """
import json, os, sys
from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store, try_link_from_shared_store
cache, calls = sys.argv[1], json.loads(sys.argv[2])
for blob, xet_hash, publish in calls:
    call = publish_blob_to_shared_store if publish else try_link_from_shared_store
    size = os.path.getsize(blob) if publish else os.path.getsize(f"{cache}/blobs/{xet_hash[:2]}/{xet_hash}")
    if not publish:
        os.unlink(blob)
    assert call(blob_path=blob, xet_hash=xet_hash, cache_dir=cache, expected_size=size), blob
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHfHub]:
    with LoopbackHfHub({"org/pipe": FILES}) as server:
        yield server


def hf(cache: Path, hub: LoopbackHfHub, *arguments: str) -> str:
    command = os.path.join(os.path.dirname(sys.executable), "hf")
    return run_client([command, *arguments], client_environment(cache, HF_ENDPOINT=hub.endpoint, NO_COLOR="1"))


def test_a_downloaded_pipeline_is_complete(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    (directory,) = hf_download(cache, hub.endpoint, {"repo_id": "org/pipe"})
    snapshot = look.one(cache)
    assert isinstance(snapshot.completeness, Complete)
    assert snapshot.key.revision == hub.head("org/pipe")
    assert str(cache / snapshot.directory) == directory
    links = {link.path.removeprefix(f"{snapshot.directory}/"): link for link in snapshot.links}
    blobs = {name: resolve_link(link.path, link.target).name for name, link in links.items()}
    assert blobs == {name: etag(name, data) for name, data in FILES.items()}
    assert all(file.expected is not None and file.expected.hex == file.path.name for file in snapshot.files)
    entries = (*snapshot.files, *snapshot.links, *snapshot.pointers)
    assert all(LAYOUT.owns(snapshot.key, entry.path) for entry in entries)
    assert "checked: 13" in hf(cache, hub, "cache", "verify", "org/pipe")


def test_what_is_listed_is_all_that_the_client_needs(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hf_download(cache, hub.endpoint, {"repo_id": "org/pipe"})
    snapshot = look.one(cache)
    again = cache.parent / "again"
    for file in snapshot.files:
        place = again / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((cache / file.path).read_bytes())
    for link in snapshot.links:
        (again / link.path).parent.mkdir(parents=True, exist_ok=True)
        (again / link.path).symlink_to(link.target)
    for pointer in snapshot.pointers:
        (again / pointer.path).parent.mkdir(parents=True, exist_ok=True)
        (again / pointer.path).write_text(pointer.text)
    asked = len(hub.files_asked())
    offline = client_environment(again, HF_HUB_OFFLINE="1", HF_ENDPOINT=hub.endpoint)
    assert run_client(hf_command({"repo_id": "org/pipe"}), offline) == str(again / snapshot.directory)
    assert hf_download(again, hub.endpoint, {"repo_id": "org/pipe"}) == [str(again / snapshot.directory)]
    assert len(hub.files_asked()) == asked
    assert "checked: 13" in hf(again, hub, "cache", "verify", "org/pipe")


def test_branches_tags_and_pull_requests_are_names(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    first = hub.head("org/pipe")
    hub.tag("org/pipe", "v1.0", first)
    second = hub.commit("org/pipe", {**FILES, "README.md": b"# second\n"}, "refs/pr/1")
    revisions = ("main", "v1.0", "refs/pr/1")
    hf_download(cache, hub.endpoint, *({"repo_id": "org/pipe", "revision": revision} for revision in revisions))
    names = {snapshot.key.revision: snapshot.names for snapshot in look(cache)}
    assert names == {first: ("main", "v1.0"), second: ("refs/pr/1",)}
    assert all(isinstance(snapshot.completeness, Complete) for snapshot in look(cache))
    old, new = ({file.path for file in snapshot.files} for snapshot in look(cache))
    assert len(old & new) == len(FILES) - 1


def test_datasets_and_spaces_are_found(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hub.commit("datasets/org/data", {"data/train.parquet": b"p" * 50, "README.md": b"#"})
    hub.commit("spaces/org/app", {"app.py": b"print()"})
    calls = [{"repo_id": f"org/{name}", "repo_type": kind} for name, kind in (("data", "dataset"), ("app", "space"))]
    hf_download(cache, hub.endpoint, *calls)
    assert [str(snapshot.key.repo) for snapshot in look(cache)] == ["datasets/org/data", "spaces/org/app"]
    assert all(isinstance(snapshot.completeness, Complete) for snapshot in look(cache))


def test_files_that_do_not_exist_are_remembered(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    answers = hf_download(
        cache,
        hub.endpoint,
        {"repo_id": "org/pipe", "filename": "model_index.json"},
        {"repo_id": "org/pipe", "filename": "absent.json"},
    )
    assert answers[1].startswith("RemoteEntryNotFoundError")
    snapshot = look.one(cache)
    place = f"hub/models--org--pipe/.no_exist/{hub.head('org/pipe')}/absent.json"
    assert (place, "") in [(pointer.path, pointer.text) for pointer in snapshot.pointers]


def test_one_file_of_a_pipeline_is_a_hit_for_the_client_and_incomplete_here(
    cache: Path, look: Looker, hub: LoopbackHfHub
) -> None:
    hf_download(cache, hub.endpoint, {"repo_id": "org/pipe", "filename": "model_index.json"})
    answer = look.one(cache).completeness
    assert isinstance(answer, Incomplete)
    assert "transformer/: is missing; model_index.json names it" in answer.reasons


def test_a_part_that_was_asked_for_is_complete(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hf_download(cache, hub.endpoint, {"repo_id": "org/pipe", "ignore_patterns": ["README.md"]})
    assert "1 listed files were never downloaded, and nothing here needs them" in look.checked(cache)


def test_a_component_that_was_left_out_is_missed(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hf_download(cache, hub.endpoint, {"repo_id": "org/pipe", "ignore_patterns": ["vae/*"]})
    assert "vae/: is missing; model_index.json names it" in look.reasons(cache)


def test_a_download_without_a_list_cannot_be_told(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hf_download(cache, hub.endpoint, *({"repo_id": "org/pipe", "filename": name} for name in FILES))
    answer = look.one(cache).completeness
    assert isinstance(answer, CannotTell)
    assert answer.satisfied


@pytest.mark.parametrize("listed", [True, False])
def test_a_client_killed_in_the_middle_leaves_an_incomplete_snapshot(
    cache: Path, look: Looker, hub: LoopbackHfHub, listed: bool
) -> None:
    if not listed:
        others = [{"repo_id": "org/pipe", "filename": name} for name in FILES if name != SHARD]
        hf_download(cache, hub.endpoint, *others)
    hub.stall_after[SHARD] = 2000
    call = {"repo_id": "org/pipe"} if listed else {"repo_id": "org/pipe", "filename": SHARD}
    environment = client_environment(cache, HF_ENDPOINT=hub.endpoint)
    with subprocess.Popen(hf_command(call), env=environment, stdout=subprocess.DEVNULL) as client:
        assert hub.stalled.wait(60)
        client.send_signal(signal.SIGKILL)
    left = [place.name for place in (cache / "hub/models--org--pipe/blobs").iterdir() if "incomplete" in place.name]
    assert any(name.startswith(etag(SHARD, FILES[SHARD])) for name in left)
    reasons = look.reasons(cache)
    assert (f"{SHARD}: its download is unfinished" if listed else f"{SHARD}: is missing; ") in reasons
    assert etag(SHARD, FILES[SHARD]) in reasons
    assert not any("incomplete" in file.path for file in look.one(cache).files)


def test_shared_blobs_are_payload_and_their_books_are_not(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hub.commit("org/copy", FILES)
    hf_download(cache, hub.endpoint, {"repo_id": "org/pipe"}, {"repo_id": "org/copy"})
    blob, xet_hash = etag(SHARD, FILES[SHARD]), "ab" * 32
    calls = [[f"{cache}/hub/models--org--{name}/blobs/{blob}", xet_hash, name == "pipe"] for name in ("pipe", "copy")]
    command = [sys.executable, "-c", _PUBLISH, f"{cache}/hub", json.dumps(calls)]
    run_client(command, client_environment(cache, HF_HUB_DISABLE_XET="0"))
    names = {place.name for place in (cache / "hub" / "blobs").rglob("*")}
    assert {".huggingface-shared-blobs", f"{xet_hash}.refs", f"{xet_hash}.lock"} < names
    for snapshot in look(cache):
        assert isinstance(snapshot.completeness, Complete)
        payload = {file.path: file for file in snapshot.files}
        shared = payload[f"hub/blobs/ab/{xet_hash}"]
        assert (shared.size_bytes, shared.expected and shared.expected.hex) == (len(FILES[SHARD]), blob)
        assert sum(path.startswith("hub/blobs/") for path in payload) == 1
        base = snapshot.directory.split("/snapshots/")[0]
        links = {link.path: link.target for link in snapshot.links}
        assert links[f"{base}/blobs/{blob}"] == f"../../blobs/ab/{xet_hash}"
        assert links[f"{snapshot.directory}/{SHARD}"] == f"../../../blobs/{blob}"
        assert not any(path.endswith((".refs", ".lock", ".huggingface-shared-blobs")) for path in (*payload, *links))
        assert all(LAYOUT.owns(snapshot.key, path) for path in (*payload, *links))


def test_a_shared_blob_whose_payload_is_gone_is_missed(cache: Path, look: Looker, hub: LoopbackHfHub) -> None:
    hf_download(cache, hub.endpoint, {"repo_id": "org/pipe"})
    blob = cache / "hub" / "models--org--pipe" / "blobs" / etag(SHARD, FILES[SHARD])
    blob.unlink()
    (cache / "hub" / "blobs" / "ab").mkdir(parents=True)
    blob.symlink_to(f"../../blobs/ab/{'ab' * 32}")
    assert f"{SHARD}: its blob hub/blobs/ab/{'ab' * 32} is missing" in look.reasons(cache)

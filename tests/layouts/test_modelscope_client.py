"""Caches that the real modelscope_hub wrote, from a hub on loopback."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.layouts.conftest import Looker
from tests.support.hf_hub import LoopbackHfHub
from tests.support.hub_clients import client_environment, hf_download, modelscope_command, modelscope_download
from tests.support.modelscope_hub import LoopbackModelScopeHub
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.snapshot import CannotTell, LayoutName

FILES = pipeline_files()
LARGE = safetensors_bytes({"w": b"w" * (3 * 2**20 + 100)})
PARALLEL = {
    "MODELSCOPE_DOWNLOAD_PARALLEL_WORKERS": "4",
    "MODELSCOPE_DOWNLOAD_PARALLEL_THRESHOLD_MB": "1",
    "MODELSCOPE_DOWNLOAD_PART_SIZE_MB": "1",
}


@pytest.fixture
def hub() -> Iterator[LoopbackModelScopeHub]:
    with LoopbackModelScopeHub({"org/pi.pe": FILES}) as server:
        yield server


def test_a_downloaded_pipeline_is_found(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    (directory,) = modelscope_download(cache, hub.endpoint, {"model_id": "org/pi.pe"})
    snapshot = look.one(cache)
    assert str(cache / snapshot.directory) == directory
    assert (str(snapshot.key.repo), snapshot.key.revision) == ("org/pi.pe", "master")
    assert {file.path.removeprefix(f"{snapshot.directory}/") for file in snapshot.files} == set(FILES)
    answer = snapshot.completeness
    assert isinstance(answer, CannotTell)
    assert answer.satisfied


def test_what_is_listed_is_all_that_the_client_needs(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    modelscope_download(cache, hub.endpoint, {"model_id": "org/pi.pe"})
    again = cache.parent / "again"
    snapshot = look.one(cache)
    for file in snapshot.files:
        place = again / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes((cache / file.path).read_bytes())
    asked = len(hub.requests)
    local = modelscope_download(again, hub.endpoint, {"model_id": "org/pi.pe", "local_files_only": True})
    assert local == [str(again / snapshot.directory)]
    assert len(hub.requests) == asked
    modelscope_download(again, hub.endpoint, {"model_id": "org/pi.pe"})
    assert not [request for request in hub.requests[asked:] if request.path.endswith("/repo")]


def test_revisions_with_slashes_are_told_apart(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    hub.publish("org/pi.pe", FILES, "feature/x")
    calls = [{"model_id": "org/pi.pe", "revision": revision} for revision in ("master", "feature/x")]
    modelscope_download(cache, hub.endpoint, *calls)
    assert [snapshot.key.revision for snapshot in look(cache)] == ["feature/x", "master"]
    assert all(len(snapshot.files) == len(FILES) for snapshot in look(cache))


def test_datasets_are_found(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    hub.publish("datasets/org/data", {f"data/{number}.csv": b"1" for number in range(250)})
    modelscope_download(cache, hub.endpoint, {"model_id": "org/data", "repo_type": "dataset"})
    snapshot = look.one(cache)
    assert str(snapshot.key.repo) == "datasets/org/data"
    assert len(snapshot.files) == 250


def test_an_old_cache_is_found_where_the_client_uses_it_again(
    cache: Path, look: Looker, hub: LoopbackModelScopeHub
) -> None:
    old = cache / "models" / "org" / "pi___pe"
    for name, data in FILES.items():
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(data)
    assert modelscope_download(cache, hub.endpoint, {"model_id": "org/pi.pe"}) == [str(old)]
    snapshot = look.one(cache)
    assert snapshot.key.layout is LayoutName.MODELSCOPE_LEGACY
    assert str(cache / snapshot.directory) == str(old)


def killed(cache: Path, hub: LoopbackModelScopeHub, **more: str) -> set[str]:
    """Kills the client once the stalled file has begun on disk; returns the names of all files at the top."""
    directory = cache / "models/org--pi.pe/snapshots/master"
    environment = client_environment(cache, MODELSCOPE_ENDPOINT=hub.endpoint, **more)
    command = modelscope_command({"model_id": "org/pi.pe"})
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **quiet) as client:  # type: ignore[call-overload]
        assert hub.stalled.wait(60)
        deadline = time.monotonic() + 60
        while not list(directory.glob("model.safetensors*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        client.send_signal(signal.SIGKILL)
    return {place.name for place in directory.iterdir() if place.is_file()}


def test_a_client_killed_in_the_middle_leaves_an_incomplete_snapshot(
    cache: Path, look: Looker, hub: LoopbackModelScopeHub
) -> None:
    hub.publish("org/pi.pe", {**FILES, "model.safetensors": LARGE})
    hub.stall_after["model.safetensors"] = 2**20 + 5
    assert "model.safetensors.incomplete" in killed(cache, hub)
    assert "model.safetensors.incomplete: a download is unfinished" in look.reasons(cache)


def test_parts_of_a_killed_parallel_download_are_known(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    hub.publish("org/pi.pe", {"config.json": b"{}", "model.safetensors": LARGE})
    hub.stall_after["model.safetensors"] = 200
    parts = {name for name in killed(cache, hub, **PARALLEL) if name.startswith("model.safetensors_")}
    assert parts
    reasons = look.reasons(cache)
    assert all(f"{part}: a download is unfinished" in reasons for part in parts)
    assert not [file for file in look.one(cache).files if "safetensors" in file.path]


def test_a_finished_parallel_download_leaves_nothing(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    hub.publish("org/pi.pe", {"config.json": b"{}", "model.safetensors": LARGE})
    modelscope_download(cache, hub.endpoint, {"model_id": "org/pi.pe"}, **PARALLEL)
    assert len([request for request in hub.requests if request.range]) == 4
    assert isinstance(look.one(cache).completeness, CannotTell)


def test_both_real_clients_share_one_directory(cache: Path, look: Looker, hub: LoopbackModelScopeHub) -> None:
    with LoopbackHfHub({"org/pi.pe": FILES}) as other:
        hf_download(cache, other.endpoint, {"repo_id": "org/pi.pe"})
        modelscope_download(cache, hub.endpoint, {"model_id": "org/pi.pe"})
        layouts = [snapshot.key.layout for snapshot in look(cache)]
        assert layouts == [LayoutName.HUGGINGFACE, LayoutName.MODELSCOPE]

"""Caches written by the real clients survive backup, loss and restore, and the real libraries use them again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.caches import listing
from tests.support.hf_hub import LoopbackHfHub, etag
from tests.support.hub_clients import client_environment, hf_command, hf_download, modelscope_download, run_client
from tests.support.machine import Machine
from tests.support.modelscope_hub import LoopbackModelScopeHub
from tests.support.tiny_pipeline import shared_pipeline
from tests.support.tiny_safetensors import pipeline_files

_SHARE = """
import json, os, sys
from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store
hub = sys.argv[1]
for blob, xet_hash in json.loads(sys.argv[2]):
    size = os.path.getsize(blob)
    assert publish_blob_to_shared_store(blob_path=blob, xet_hash=xet_hash, cache_dir=hub, expected_size=size)
"""

_GENERATE = """
import sys, torch
from {module} import ZImagePipeline
pipe = ZImagePipeline.from_pretrained({source}, local_files_only=True, torch_dtype=torch.float32)
image = pipe("a boat", height=64, width=64, num_inference_steps=2, guidance_scale=0.0,
             generator=torch.Generator().manual_seed(1)).images[0]
image.save(sys.argv[1])
"""


def read_files(directory: Path) -> dict[str, bytes]:
    places = [place for place in directory.rglob("*") if place.is_file()]
    return {str(place.relative_to(directory)): place.read_bytes() for place in places}


def lose(machine: Machine) -> None:
    """The data disk is replaced by an empty one."""
    shutil.rmtree(machine.root / "data")
    (machine.root / "data").mkdir()


def hf(cache: Path, endpoint: str, *arguments: str) -> str:
    command = os.path.join(os.path.dirname(sys.executable), "hf")
    return run_client([command, *arguments], client_environment(cache, HF_ENDPOINT=endpoint, NO_COLOR="1"))


def test_hugging_faces_cache_with_several_revisions(machine: Machine) -> None:
    files = pipeline_files()
    with LoopbackHfHub({"org/pipe": files}) as hub:
        first = hub.head("org/pipe")
        hub.tag("org/pipe", "v1.0", first)
        hub.commit("org/pipe", {**files, "README.md": b"# second\n"}, "refs/pr/1")
        hub.commit("datasets/org/data", {"data/train.parquet": b"p" * 50, "README.md": b"#"})
        calls = [{"repo_id": "org/pipe", "revision": name} for name in ("main", "v1.0", "refs/pr/1")]
        calls.append({"repo_id": "org/data", "repo_type": "dataset"})
        hf_download(machine.cache, hub.endpoint, *calls)
        before = {path: entry for path, entry in listing(machine.cache).items() if is_kept(path)}
        machine.run("backup")
        lose(machine)
        machine.run("restore")
        assert listing(machine.cache) == before
        asked = len(hub.files_asked())
        offline = client_environment(machine.cache, HF_HUB_OFFLINE="1", HF_ENDPOINT=hub.endpoint)
        for revision in ("main", "v1.0", "refs/pr/1"):
            assert run_client(hf_command({"repo_id": "org/pipe", "revision": revision}), offline)
        hf_download(machine.cache, hub.endpoint, *calls)
        assert len(hub.files_asked()) == asked
        assert "checked: 13" in hf(machine.cache, hub.endpoint, "cache", "verify", "org/pipe")


def is_kept(path: str) -> bool:
    """What is no lock, tag file or log of the library."""
    return path.startswith("hub/") and "/.locks/" not in path and not path.endswith("CACHEDIR.TAG")


def test_shared_blobs_with_another_repositorys_references(machine: Machine) -> None:
    """A `.refs` that forgot one repository made the library's sweep delete its payload."""
    files = pipeline_files()
    with LoopbackHfHub({"org/pipe": files, "org/other": files}) as hub:
        hf_download(machine.cache, hub.endpoint, {"repo_id": "org/pipe"})
        home = machine.cache / "hub"
        weights = [name for name in files if name.endswith(".safetensors")]
        pairs = [
            (str(home / "models--org--pipe/blobs" / etag(name, files[name])), f"{number:02x}" * 32)
            for number, name in enumerate(weights, 0x10)
        ]
        run_client([sys.executable, "-c", _SHARE, str(home), json.dumps(pairs)], client_environment(machine.cache))
        shared = [place for place in (home / "blobs").rglob("*") if place.is_file() and "." not in place.name]
        assert len(shared) == len(weights)
        machine.run("backup")
        before = {path: entry for path, entry in listing(machine.cache).items() if not_books(path)}
        # Another repository refers to one payload, and ours has lost its own files.
        refs = next(iter((home / "blobs").rglob("*.refs")))
        other = f"models--org--other/blobs/{'0' * 64}\n"
        shutil.rmtree(home / "models--org--pipe")
        refs.write_text(other)
        machine.run("restore")
        assert {path: entry for path, entry in listing(machine.cache).items() if not_books(path)} == before
        lines = refs.read_text().splitlines(keepends=True)
        assert lines[0] == other
        assert lines[1].startswith("models--org--pipe/blobs/")
        lose(machine)
        machine.run("restore")
        assert {path: entry for path, entry in listing(machine.cache).items() if not_books(path)} == before
        assert (home / "blobs/.huggingface-shared-blobs").read_bytes() == b"1\n"
        for place in shared:
            (line,) = place.with_name(f"{place.name}.refs").read_text().splitlines()
            assert (home / line).resolve() == place
        asked = len(hub.files_asked())
        hf_download(machine.cache, hub.endpoint, {"repo_id": "org/pipe"})
        assert len(hub.files_asked()) == asked
        assert "checked: 13" in hf(machine.cache, hub.endpoint, "cache", "verify", "org/pipe")


def not_books(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return is_kept(path) and not name.endswith((".refs", ".lock")) and name != ".huggingface-shared-blobs"


def test_modelscopes_cache(machine: Machine) -> None:
    with LoopbackModelScopeHub({"org/pipe": pipeline_files()}) as hub:
        modelscope_download(machine.cache, hub.endpoint, {"model_id": "org/pipe"})
        before = {path: entry for path, entry in listing(machine.cache).items() if path.startswith("models/")}
        assert before
        machine.run("backup")
        lose(machine)
        machine.run("restore")
        assert listing(machine.cache) == before
        asked = len(hub.files_asked())
        (directory,) = modelscope_download(
            machine.cache, hub.endpoint, {"model_id": "org/pipe", "local_files_only": True}
        )
        assert directory == machine.run("path", "org/pipe").stdout.strip()
        modelscope_download(machine.cache, hub.endpoint, {"model_id": "org/pipe"})
        assert len(hub.files_asked()) == asked


@pytest.mark.probe
@pytest.mark.parametrize("library", ["huggingface", "modelscope"])
@pytest.mark.long  # the demo draws with one, too
def test_a_restored_pipeline_draws_offline(
    machine: Machine, tmp_path_factory: pytest.TempPathFactory, library: str
) -> None:
    files = read_files(Path(shared_pipeline(tmp_path_factory)))
    if library == "huggingface":
        with LoopbackHfHub({"org/pipe": files}) as hub:
            hf_download(machine.cache, hub.endpoint, {"repo_id": "org/pipe"})
    else:
        with LoopbackModelScopeHub({"org/pipe": files}) as server:
            modelscope_download(machine.cache, server.endpoint, {"model_id": "org/pipe"})
    machine.run("backup")
    lose(machine)
    machine.run("restore")
    directory = machine.run("path", "org/pipe").stdout.strip()
    picture = machine.root / "picture.png"
    source = repr("org/pipe") if library == "huggingface" else repr(directory)
    module = "diffusers" if library == "huggingface" else "modelscope"
    code = _GENERATE.format(module=module, source=source)
    environment = client_environment(machine.cache, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    subprocess.run([sys.executable, "-c", code, str(picture)], env=environment, check=True, capture_output=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    finished = machine.run("--json", "health", "--level", "generate")
    (result,) = json.loads(finished.stdout)["results"]
    assert result["result"]["outcome"] == "ok"
    assert Path(result["result"]["picture"]).read_bytes().startswith(b"\x89PNG")

"""The command line with hubs in restore.order: loopback hubs give what the stores lack."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.hf_hub import LoopbackHfHub
from tests.support.loopback import SIGNATURE, LoopbackCdn, LoopbackServer
from tests.support.machine import Machine
from tests.support.modelscope_hub import LoopbackModelScopeHub
from tests.support.tiny_safetensors import pipeline_files

TOKEN = "hf_verysecret"
VARIABLES = {
    "huggingface": {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": ""},
    "modelscope": {"MODELSCOPE_API_TOKEN": TOKEN},
}


class Scene:
    """A machine whose cache holds what one hub published; everything is backed up."""

    def __init__(self, machine: Machine, name: str, hub: LoopbackServer) -> None:
        self.machine = machine
        self.name = name
        self.hub = hub
        endpoint = "HF_ENDPOINT" if name == "huggingface" else "MODELSCOPE_ENDPOINT"
        self.variables = {**VARIABLES[name], endpoint: hub.endpoint, "NO_PROXY": "*"}
        (machine.cache / "token").write_text(TOKEN)
        self.order("bucket", "modelscope", "huggingface")
        self.run("backup")
        self.before = listing(machine.cache)

    def order(self, *names: str) -> None:
        self.machine.write_config(f"[restore]\norder = {json.dumps(names)}")

    def run(self, *arguments: str, expected: int = 0, **more: str) -> dict[str, Any]:
        done = self.machine.run("--json", *arguments, expected=expected, **{**self.variables, **more})
        assert SIGNATURE not in done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def text(self, *arguments: str, expected: int = 0, **more: str) -> str:
        done = self.machine.run(*arguments, expected=expected, **{**self.variables, **more})
        assert SIGNATURE not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def blob_of(self, end: str) -> Path:
        """The archive's blob of a file that the cache holds."""
        wanted = next(place for place in self.machine.cache.rglob(f"*{end}") if place.is_file()).read_bytes()
        blobs = [place for place in (self.machine.bucket / "blobs").rglob("*") if place.is_file()]
        return next(place for place in blobs if place.read_bytes() == wanted)

    def wipe(self) -> None:
        """Takes all payload away; what belongs to this program stays, as does the token."""
        for folder in ("hub", "models"):
            shutil.rmtree(self.machine.cache / folder, ignore_errors=True)

    def files_asked(self) -> list[str]:
        return [request.path for request in self.hub.requests if request.range]

    def kept_text(self) -> str:
        """All that was kept on the data disk: reports, manifests, the ledger."""
        places = [place for place in (self.machine.cache / ".zimage-syncd").rglob("*") if place.is_file()]
        return "".join(place.read_bytes().decode("latin-1") for place in places)


@contextmanager
def scene_of(machine: Machine, name: str) -> Iterator[Scene]:
    files = pipeline_files()
    if name == "huggingface":
        with LoopbackHfHub() as hf:
            commit = hf.commit("org/name", files)
            hf_snapshot(machine.cache, files, commit=commit)
            yield Scene(machine, name, hf)
    else:
        with LoopbackModelScopeHub({"org/name": files}) as ms:
            modelscope_snapshot(machine.cache, files)
            yield Scene(machine, name, ms)


@pytest.fixture(params=["huggingface", "modelscope"])
def scene(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Scene]:
    with scene_of(machine, request.param) as scene:
        yield scene


def used(report: dict[str, Any]) -> dict[str, int]:
    return {use["source"]: use["read_bytes"] for result in report["snapshots"] for use in result["sources"]}


def test_a_blob_that_the_archive_lost_comes_from_the_hub(scene: Scene) -> None:
    blob = scene.blob_of("vae/diffusion_pytorch_model.safetensors")
    size = blob.stat().st_size
    blob.unlink()
    scene.wipe()
    with LoopbackCdn(scene.hub) as cdn:
        report = scene.run("restore")
    assert listing(scene.machine.cache) == scene.before
    assert used(report)[scene.name] == size
    assert used(report)["bucket"] == report["snapshots"][0]["total_bytes"] - size
    # The token went to the hub, and nowhere else.
    (asked,) = [request for request in scene.hub.requests if request.range]
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(cdn.requests)
    assert TOKEN not in scene.kept_text()
    assert SIGNATURE not in scene.kept_text()


def test_the_report_says_which_source_did_what(scene: Scene) -> None:
    blob = scene.blob_of("vae/diffusion_pytorch_model.safetensors")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    os.chmod(blob, 0o600)
    blob.write_bytes(data)
    scene.wipe()
    text = scene.text("restore", "-v", expected=2)
    assert f"from {scene.name}" in text
    assert "ZS305" in text
    assert "bucket: chunk 1 of 1" in text
    assert listing(scene.machine.cache) == scene.before


def test_damage_is_mended_from_the_hub_where_no_store_is_left(scene: Scene) -> None:
    shutil.rmtree(scene.machine.bucket / "blobs")
    place = next(place for place in scene.machine.cache.rglob("*.safetensors")).resolve()
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    report = scene.run("verify", "--deep", "--repair", expected=2)
    assert used(report) == {scene.name: len(data)}
    assert all(finding["mended"] for finding in report["findings"])
    assert listing(scene.machine.cache) == scene.before


@pytest.mark.parametrize("named", [True, False])
def test_the_data_disk_s_own_records_and_a_hub_are_enough(scene: Scene, named: bool) -> None:
    shutil.rmtree(scene.machine.bucket)
    scene.wipe()
    scene.order("bucket" if named else scene.name)
    arguments = ["restore", *(["--from", scene.name] if named else [])]
    plan = scene.text(*arguments, "--dry-run")
    assert "from the data disk's records" in plan
    assert scene.files_asked() == []
    report = scene.run(*arguments)
    assert listing(scene.machine.cache) == scene.before
    assert used(report) == {scene.name: report["snapshots"][0]["total_bytes"]}


def test_a_restore_beside_the_cache_uses_the_records_too(scene: Scene, tmp_path: Path) -> None:
    shutil.rmtree(scene.machine.bucket / "blobs")
    scene.run("restore", "--to", str(tmp_path / "beside"))
    restored = listing(tmp_path / "beside")
    assert restored.items() <= scene.before.items()
    assert len(restored) == len(scene.before) - 1  # all but the token


def test_a_hub_without_a_manifest_says_what_to_do(scene: Scene) -> None:
    shutil.rmtree(scene.machine.bucket)
    shutil.rmtree(scene.machine.cache / ".zimage-syncd")
    scene.wipe()
    for order in (("bucket", scene.name), (scene.name,)):
        scene.order(*order)
        text = scene.text("restore", "org/name", expected=1)
        assert "download it with its library, then run `zimage-syncd backup`" in text
    assert scene.files_asked() == []


def test_what_the_stores_have_is_not_asked_for(scene: Scene) -> None:
    scene.wipe()
    assert used(scene.run("restore")).keys() == {"bucket"}
    for command in (["verify"], ["snapshots"], ["status"], ["restore", "--dry-run"]):
        scene.run(*command)
    assert scene.hub.requests == []


def test_a_hub_that_has_moved_on_is_refused_by_digest(machine: Machine) -> None:
    with scene_of(machine, "modelscope") as scene:
        blob = scene.blob_of("vae/diffusion_pytorch_model.safetensors")
        other = bytes(len(blob.read_bytes()))
        blob.unlink()
        scene.wipe()
        assert isinstance(scene.hub, LoopbackModelScopeHub)
        newer = {**pipeline_files(), "vae/diffusion_pytorch_model.safetensors": other}
        scene.hub.publish("org/name", newer)
        text = scene.text("restore", expected=2)
        assert "modelscope: chunk 1 of 1 hashes to" in text
        assert not list(machine.cache.rglob("vae/diffusion_pytorch_model.safetensors"))


def test_offline_means_that_the_hub_is_not_asked(machine: Machine) -> None:
    with scene_of(machine, "huggingface") as scene:
        scene.blob_of("vae/diffusion_pytorch_model.safetensors").unlink()
        scene.wipe()
        text = scene.text("restore", expected=2, HF_HUB_OFFLINE="1")
        assert "huggingface: hub/models--org--name/blobs/" in text
        assert "it is not asked, since HF_HUB_OFFLINE" in text
        assert scene.hub.requests == []

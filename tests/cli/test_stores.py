"""The commands against a real S3 server, and against cache trees on a mounted file system, in every mode."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing, modelscope_snapshot
from tests.support.machine import Machine
from tests.support.s3_server import S3Server
from tests.support.tiny_safetensors import pipeline_files, safetensors_bytes
from zimage_syncd.model.manifest import CHUNK_BYTES


def address(server: S3Server, bucket: str) -> str:
    return f'url = "s3://{bucket}/some/prefix"\nendpoint_url = "{server.endpoint_url}"\nregion = "us-east-1"'


def keys(server: S3Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}


class TestBucket:
    def test_backup_loss_restore_verify(self, machine: Machine, seaweed: S3Server) -> None:
        machine.write_config(store=address(seaweed, seaweed.make_bucket()))
        big = safetensors_bytes({"x": os.urandom(2 * CHUNK_BYTES + 99)})
        hf_snapshot(machine.cache, {**pipeline_files(), "big/model.safetensors": big})
        before = listing(machine.cache)
        machine.run("backup", **keys(seaweed))
        assert "unchanged" in machine.run("backup", **keys(seaweed)).stdout
        shutil.rmtree(machine.cache)
        machine.run("restore", **keys(seaweed))
        assert listing(machine.cache) == before
        assert "the store is good" in machine.run("verify", "--store", "bucket", "--deep", **keys(seaweed)).stdout
        place = next((machine.cache / "hub/models--org--name/snapshots").rglob("big/model.safetensors")).resolve()
        data = bytearray(place.read_bytes())
        data[CHUNK_BYTES + 1] ^= 8
        place.write_bytes(data)
        said = machine.run("verify", "--deep", "--repair", expected=2, **keys(seaweed)).stdout
        assert "chunk 2 of 3 is damaged [mended]" in said
        assert "16.78 MB from bucket" in said
        assert listing(machine.cache) == before

    def test_rotten_and_lost_blobs_are_sent_again_from_the_cache(self, machine: Machine, seaweed: S3Server) -> None:
        bucket = seaweed.make_bucket()
        machine.write_config(store=address(seaweed, bucket))
        hf_snapshot(
            machine.cache,
            {**pipeline_files(), "big/model.safetensors": safetensors_bytes({"x": os.urandom(CHUNK_BYTES + 99)})},
        )
        machine.run("backup", **keys(seaweed))
        client = seaweed.client()
        blobs = client.list_objects_v2(Bucket=bucket, Prefix="some/prefix/blobs/")["Contents"]
        by_size = sorted((blob["Size"], blob["Key"]) for blob in blobs)
        (_, small), (_, lost), (_, large) = by_size[-3], by_size[-2], by_size[-1]
        for key in small, large:
            data = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            client.put_object(Bucket=bucket, Key=key, Body=data[:-1] + bytes([data[-1] ^ 1]))
        client.delete_object(Bucket=bucket, Key=lost)
        check = ["verify", "--store", "bucket", "--deep"]
        assert machine.run(*check, expected=2, **keys(seaweed)).stdout.count("ZS305") >= 2
        said = machine.run(*check, "--repair", expected=2, **keys(seaweed)).stdout
        assert said.count("[mended]") == 3
        assert "3 problems found, 3 mended" in said
        assert "the store is good" in machine.run(*check, **keys(seaweed)).stdout

    def test_a_blob_is_not_mended_from_a_cache_that_is_damaged_too(self, machine: Machine) -> None:
        machine.write_config()
        hf_snapshot(machine.cache, pipeline_files())
        machine.run("backup")
        blob = max((path for path in (machine.bucket / "blobs").rglob("*") if path.is_file()), key=os.path.getsize)
        own = next((machine.cache / "hub/models--org--name/blobs").glob(blob.name))
        for path in blob, own:
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        said = machine.run("verify", "--store", "bucket", "--deep", "--repair", expected=2).stdout
        assert "not mended from the cache: a file's content is damaged" in said
        assert blob.read_bytes().endswith(b"?")

    def test_a_wrong_key_is_denied(self, machine: Machine, seaweed: S3Server) -> None:
        machine.write_config(store=address(seaweed, seaweed.make_bucket()))
        machine.fill()
        wrong = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong-secret-value"}
        for arguments, code in (["restore"], 1), (["backup"], 1):
            finished = machine.run(*arguments, expected=code, **wrong)
            assert "ZS402" in finished.stdout + finished.stderr
            assert "wrong-secret-value" not in finished.stdout + finished.stderr

    def test_a_wrong_bucket_is_missing(self, machine: Machine, seaweed: S3Server) -> None:
        machine.write_config(store=address(seaweed, "no-such-bucket-here"))
        machine.fill()
        for arguments, code in (["restore"], 1), (["backup"], 1):
            finished = machine.run(*arguments, expected=code, **keys(seaweed))
            assert "ZS401" in finished.stdout + finished.stderr
            assert "no-such-bucket-here" in finished.stdout + finished.stderr

    def test_no_network_is_unreachable_and_the_cache_stays(self, machine: Machine) -> None:
        store = 'url = "s3://bucket/x"\nendpoint_url = "http://127.0.0.1:9"\nregion = "us-east-1"'
        machine.write_config(store=store)
        machine.fill()
        before = listing(machine.cache)
        some = {"AWS_ACCESS_KEY_ID": "some", "AWS_SECRET_ACCESS_KEY": "some-secret"}
        for arguments, code in (["restore"], 1), (["backup"], 1):
            finished = machine.run(*arguments, expected=code, **some)
            assert "ZS403" in finished.stdout + finished.stderr
        assert "NOT reachable" in machine.run("status", expected=2, **some).stdout
        assert listing(machine.cache) == before


class TestCacheTree:
    @pytest.fixture
    def tree(self, machine: Machine) -> Path:
        """A shared mount where somebody put a cache."""
        tree = machine.root / "shared/model_cache"
        hf_snapshot(tree, pipeline_files())
        (tree / "token").write_text("hf_verysecret")
        machine.write_config(store=f'url = "{tree}"')
        return tree

    @pytest.mark.parametrize("mode", ["auto", "copy"])
    def test_copies_are_the_caches_own(self, machine: Machine, tree: Path, mode: str) -> None:
        machine.run("restore", "--mode", mode)
        whole = listing(tree)
        del whole["token"]
        assert listing(machine.cache) == whole

    def test_symlinks_lead_to_the_mounts_payload_only(self, machine: Machine, tree: Path) -> None:
        said = machine.run("restore", "--mode", "symlink").stdout
        assert "what is linked was not read" in said
        assert "a deep verification is queued" in said
        assert "deep queued" in (machine.cache / ".zimage-syncd/schedule.json").read_text()
        assert "verified" not in said
        payload = list((machine.cache / "hub/models--org--name/blobs").iterdir())
        assert payload
        for place in payload:
            assert os.readlink(place) == str(tree / place.relative_to(machine.cache))
        assert not (machine.cache / "hub/models--org--name").is_symlink()
        assert "complete" in machine.run("snapshots").stdout
        machine.run("verify", "--deep")
        said = machine.run("restore").stdout
        assert "nothing to do" in said
        assert f"{len(payload)} are links into a store" in said

    @pytest.mark.parametrize("mode", ["copy", "hardlink"])
    def test_links_become_own_files_when_that_is_asked_for(self, machine: Machine, tree: Path, mode: str) -> None:
        machine.run("restore", "--mode", "symlink")
        linked = listing(machine.cache)
        payload = sorted(place for place in (tree / "hub/models--org--name/blobs").iterdir())
        size_bytes = sum(place.stat().st_size for place in payload)
        plan = machine.json("restore", "--mode", mode, "--dry-run")
        assert plan["fetch_bytes"] == (size_bytes if mode == "copy" else 0)
        assert plan["needed_bytes"] >= (size_bytes if mode == "copy" else 0)
        fetched = [item for item in plan["snapshots"][0]["actions"] if item["action"] == "Fetch"]
        assert [item["reason"] for item in fetched] == [
            "a link into a store, and the cache's own file is wanted"
        ] * len(payload)
        assert listing(machine.cache) == linked
        machine.run("restore", "--mode", mode)
        for place in payload:
            own = machine.cache / place.relative_to(tree)
            assert not own.is_symlink()
            assert own.samefile(place) == (mode == "hardlink")
        assert "nothing to do" in machine.run("restore", "--mode", mode).stdout
        shutil.rmtree(tree)
        assert "no damage found" in machine.run("verify", "--deep").stdout

    def test_damage_behind_a_symlink_is_found(self, machine: Machine, tree: Path) -> None:
        machine.run("restore", "--mode", "symlink")
        name = "vae/diffusion_pytorch_model.safetensors"
        place = next((tree / "hub/models--org--name/snapshots").rglob(name)).resolve()
        data = bytearray(place.read_bytes())
        data[-1] ^= 1
        place.write_bytes(data)
        said = machine.run("verify", "--deep", expected=2).stdout
        assert name in said
        assert "ZS203" in said

    def test_a_dead_mount_is_reported_and_its_links_stay_until_a_restore_is_asked_for(
        self, machine: Machine, tree: Path
    ) -> None:
        bucket = f'url = "{tree}"\n[stores.archive]\nurl = "file://{machine.bucket}"'
        machine.write_config(store=bucket)
        machine.run("restore", "--mode", "symlink")
        machine.run("backup")
        tree.rename(tree.with_name("unmounted"))
        links = sum(place.is_symlink() for place in (machine.cache / "hub/models--org--name/blobs").iterdir())
        for arguments in ["verify"], ["verify", "--deep"], ["verify", "--repair"]:
            said = machine.run(*arguments, expected=2).stdout
            assert f"ZS401 the store does not exist: {tree}: {links} files of the cache are linked into it" in said
            assert said.count("ZS401 ") == 1
        assert all(place.is_symlink() for place in (machine.cache / "hub/models--org--name/blobs").iterdir())
        machine.run("restore", expected=2)
        assert not any(place.is_symlink() for place in (machine.cache / "hub/models--org--name/blobs").iterdir())
        machine.run("verify", "--deep")

    def test_hard_links_share_the_inode(self, machine: Machine, tree: Path) -> None:
        machine.run("restore", "--mode", "hardlink")
        for place in (machine.cache / "hub/models--org--name/blobs").iterdir():
            assert place.stat().st_ino == (tree / place.relative_to(machine.cache)).stat().st_ino

    def test_reflink_says_so_where_it_is_impossible(self, machine: Machine, tree: Path) -> None:
        finished = machine.run("restore", "--mode", "reflink", expected=None)
        if finished.returncode == 0:
            pytest.skip("this file system has reflinks")
        assert finished.returncode == 2
        assert "ZS111" in finished.stdout
        assert not [place for place in machine.cache.rglob("*") if ".zimage-syncd-" in place.name]

    def test_a_damaged_tree_is_refused(self, machine: Machine, tree: Path) -> None:
        blobs = (tree / "hub/models--org--name/blobs").iterdir()
        place = next(place for place in blobs if len(place.name) == 64)
        place.write_bytes(place.read_bytes()[:-1] + b"?")
        finished = machine.run("restore", expected=1)
        assert "ZS306" in finished.stderr
        assert place.name in finished.stderr
        assert listing(machine.cache) == {}

    def test_a_damaged_snapshot_of_a_tree_is_told_as_the_stores(self, machine: Machine, tree: Path) -> None:
        modelscope_snapshot(tree, pipeline_files())
        blobs = (tree / "hub/models--org--name/blobs").iterdir()
        place = next(place for place in blobs if len(place.name) == 64)
        place.write_bytes(place.read_bytes()[:-1] + b"?")
        said = machine.run("restore", expected=2).stdout
        assert "ZS305" in said
        assert f": bucket: hub/models--org--name/blobs/{place.name}" in said
        assert "ZS203" not in said

    def test_a_tree_that_nobody_recorded_is_checked(self, machine: Machine, tree: Path) -> None:
        modelscope_snapshot(tree, pipeline_files())
        said = machine.run("verify", "--store", "bucket").stdout
        assert said.count("in bucket: whole by names and sizes; never recorded") == 2
        said = machine.run("verify", "--store", "bucket", "--deep").stdout
        assert "in bucket: every byte was read; compared with what its publisher lists" in said
        assert "in bucket: every byte was read; nothing was there to compare it with" in said

    def test_a_deep_verification_by_hand_takes_what_it_covered_off_the_queue(
        self, machine: Machine, tree: Path
    ) -> None:
        modelscope_snapshot(tree, pipeline_files())
        machine.run("restore", "--mode", "symlink")
        document = machine.cache / ".zimage-syncd/schedule.json"
        assert len(json.loads(document.read_text())["deep queued"]) == 2
        machine.run("verify", "--quick")
        assert len(json.loads(document.read_text())["deep queued"]) == 2
        machine.run("verify", "--deep", "--layout", "huggingface", "org/name")
        (left,) = json.loads(document.read_text())["deep queued"]
        assert "modelscope" in left
        machine.run("verify", "--deep")
        assert "deep queued" not in document.read_text()

    def test_damage_of_a_tree_that_nobody_recorded_is_found_by_reading(self, machine: Machine, tree: Path) -> None:
        blobs = (tree / "hub/models--org--name/blobs").iterdir()
        place = next(place for place in blobs if len(place.name) == 64)
        place.write_bytes(place.read_bytes()[:-1] + b"?")
        said = machine.run("verify", "--store", "bucket", "--deep", expected=2).stdout
        assert "ZS305" in said
        assert f"blobs/{place.name}" in said

    def test_an_empty_mount_point_has_nothing(self, machine: Machine, tree: Path) -> None:
        shutil.rmtree(tree)
        assert "ZS401" in machine.run("restore", expected=1).stderr
        tree.mkdir()
        assert "ZS306" in machine.run("restore", expected=1).stderr


@pytest.fixture(params=["btrfs", "xfs"])
def sharing(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Path]:
    """A file system with reflinks."""
    kind: str = request.param
    if os.geteuid() != 0 or not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"needs root and mkfs.{kind}")
    image = machine.root / f"{kind}.img"
    with open(image, "wb") as file:
        file.truncate({"btrfs": 256, "xfs": 320}[kind] * 2**20)  # xfsprogs 5.19 and later make none below 300 MiB
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    mount = machine.root / kind
    mount.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"loop mounts of {kind} are not possible here: {mounted.stderr.decode()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("mode", ["reflink", "hardlink", "auto"])
def test_links_take_no_space_and_are_told(machine: Machine, sharing: Path, mode: str) -> None:
    tree = sharing / "shared"
    big = safetensors_bytes({"x": os.urandom(140 * 2**20)})
    hf_snapshot(tree, {**pipeline_files(), "big/model.safetensors": big})
    cache = sharing / "cache"
    machine.config.write_text(
        f'[cache]\ndir = "{cache}"\n[stores.tree]\nurl = "{tree}"\n[daemon]\nstate_dir = "{machine.root}/state"\n'
    )
    # 140 MiB a second time would not fit.
    said = machine.run("restore", "--mode", mode).stdout
    payload = [place for place in (cache / "hub/models--org--name/blobs").iterdir() if place.is_file()]
    linked = mode != "auto"  # which takes a reflink as what to begin with, and reads it
    assert (f"{len(payload)} linked: not read" in said) == linked
    assert ("a deep verification is queued" in said) == linked
    assert ("verified" in said) != linked
    shared = {os.stat(tree / place.relative_to(cache)).st_ino == os.stat(place).st_ino for place in payload}
    assert shared == {mode == "hardlink"}
    assert dict(listing(cache).items()) == listing(tree)
    machine.run("verify", "--deep")

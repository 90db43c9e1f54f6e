"""The commands, one after the other, as a person uses them."""

from __future__ import annotations

import json
import os
import shutil

from tests.support.caches import listing
from tests.support.machine import Machine


def test_backup_loss_restore_verify(machine: Machine) -> None:
    machine.fill()
    before = listing(machine.cache)
    del before["token"]
    said = machine.run("backup").stdout
    assert "backed up" in said
    assert "everything is backed up" in said
    shutil.rmtree(machine.cache)
    said = machine.run("restore", "--dry-run").stdout
    assert "this was a dry run" in said
    assert "missing" in said
    assert not machine.cache.exists()
    said = machine.run("restore").stdout
    assert "everything is there and verified" in said
    assert listing(machine.cache) == before
    assert os.readlink(machine.link) == str(machine.cache)
    assert "nothing to do" in machine.run("restore").stdout
    assert "no damage found" in machine.run("verify", "--deep").stdout
    assert "the store is good" in machine.run("verify", "--store", "bucket", "--deep").stdout


def test_nothing_secret_reaches_the_store_or_reports(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    for place in [*machine.bucket.rglob("*"), *(machine.cache / ".zimage-syncd").rglob("*")]:
        if place.is_file():
            assert b"hf_verysecret" not in place.read_bytes(), place


def test_damage_is_found_named_and_mended(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    machine.run("restore")
    place = machine.cache / "models/org--name/snapshots/master/vae/diffusion_pytorch_model.safetensors"
    data = bytearray(place.read_bytes())
    data[-5] ^= 1
    place.write_bytes(data)
    document = machine.json("verify", "--deep", expected=2)
    (finding,) = document["findings"]
    assert finding["problem"]["code"] == "ZS203"
    assert finding["subject"].endswith("vae/diffusion_pytorch_model.safetensors")
    assert finding["chunks"] == [0]
    said = machine.run("verify", "--deep", "--repair", expected=2).stdout
    assert "[mended]" in said
    machine.run("verify", "--deep")


def test_restore_to_another_directory_leaves_cache_and_links_alone(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    target = machine.root / "elsewhere"
    machine.run("restore", "org/name", "--to", str(target), "--layout", "huggingface")
    whole = {path for path in listing(machine.cache) if path.startswith("hub/")}
    assert set(listing(target)) == whole
    assert not os.path.lexists(machine.link)


def test_path_env_and_snapshots(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    path = machine.run("path", "org/name").stdout.strip()
    assert os.path.isfile(f"{path}/model_index.json")
    assert "/snapshots/master" in machine.run("path", "org/name", "--layout", "modelscope").stdout
    assert f"export HF_HOME={machine.link}" in machine.run("env").stdout
    assert f'Environment="MODELSCOPE_CACHE={machine.link}"' in machine.run("env", "--shell", "systemd").stdout
    rows = machine.json("snapshots")["snapshots"]
    assert {(row["place"], row["layout"]) for row in rows} == {
        ("cache", "huggingface"),
        ("cache", "modelscope"),
        ("bucket", "huggingface"),
        ("bucket", "modelscope"),
    }
    assert {row["state"] for row in rows if row["place"] == "cache"} == {"complete", "cannot tell"}


def test_the_manifests_id_chooses_an_older_snapshot(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    place = machine.cache / "models/org--name/snapshots/master/README.md"
    first = place.read_bytes()
    (row,) = [
        row
        for row in machine.json("snapshots")["snapshots"]
        if row["place"] == "bucket" and row["revision"] == "master"
    ]
    place.write_bytes(b"changed\n")
    machine.run("backup", "--layout", "modelscope", expected=2)
    machine.run("backup", "--layout", "modelscope", "--accept-changed")
    machine.run("restore", "--snapshot", row["manifest_id"][:12])
    assert place.read_bytes() == first


def test_status_says_what_is_wrong_and_what_to_do(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    said = machine.run("status", expected=2).stdout
    assert "ZS112" in said
    machine.run("restore")
    said = machine.run("status").stdout
    assert "link " in said
    assert ": good" in said
    assert "reachable" in said
    document = machine.json("status")
    assert document["status"]["cache_id"]


def test_json_is_one_document_before_and_after_the_command(machine: Machine) -> None:
    machine.fill()
    for arguments in (["--json", "snapshots"], ["snapshots", "--json"]):
        document = json.loads(machine.run(*arguments).stdout)
        assert document["schema"] == "zimage-syncd/snapshots/1"


def test_a_plan_as_json_has_bytes_and_reasons(machine: Machine) -> None:
    machine.fill()
    machine.run("backup")
    shutil.rmtree(machine.cache / "models")
    document = machine.json("restore", "--dry-run")
    by_layout = {snapshot["snapshot"]: snapshot for snapshot in document["snapshots"]}
    wanted = by_layout["org/name@master (modelscope)"]
    assert wanted["fetch_bytes"] == sum(item["fetch_bytes"] for item in wanted["actions"])
    assert {item["reason"] for item in wanted["actions"]} == {"missing"}


def test_status_says_of_disks_what_people_understand(machine: Machine) -> None:
    machine.fill()
    said = machine.run("status", expected=None).stdout
    assert "disk    without an identity yet: the first backup, restore or verify gives it one" in said
    assert "system  no system disk is known yet" in said
    assert "empty" not in said
    machine.run("backup")
    assert "disk    the one that this cache is on;" in machine.run("status", expected=None).stdout
    assert machine.json("status", expected=None)["status"]["disk"] == "here"


def test_a_first_restore_with_nothing_anywhere_makes_the_links_and_says_so(machine: Machine) -> None:
    assert "nothing to restore: no store holds a snapshot yet" in machine.run("restore", "--dry-run").stdout
    said = machine.run("restore").stdout
    assert f"no store holds a snapshot yet: asked bucket (file://{machine.bucket})" in said
    assert "download a model, then run `zimage-syncd backup`" in said
    assert "nothing was restored" in said
    assert os.readlink(machine.link) == str(machine.cache)
    assert machine.json("restore")["exit_code"] == 0


def test_empty_stores_are_a_failure_where_something_is_expected_of_them(machine: Machine) -> None:
    machine.run("restore", "org/name", expected=1)
    machine.write_config(cache='repos = ["org/name"]')
    machine.run("restore", expected=1)
    machine.write_config()
    machine.fill()
    machine.run("backup")
    shutil.rmtree(machine.bucket)
    assert "ZS307" in machine.run("restore", expected=1).stderr

"""`zimage-syncd adopt` as a process: disks taken over, directories taken in, nothing mixed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.caches import hf_snapshot, listing
from tests.support.machine import Machine
from tests.support.tiny_safetensors import pipeline_files


def identity(machine: Machine) -> dict[str, object]:
    return dict(json.loads((machine.cache / ".zimage-syncd/identity.json").read_text()))


def test_a_disk_of_another_cache_is_taken_over_on_purpose(machine: Machine) -> None:
    machine.write_config(cache='id = "theirs"')
    machine.fill()
    machine.run("backup")
    machine.write_config(cache='id = "ours"')
    assert "ZS102" in machine.run("verify", expected=1).stderr
    before = listing(machine.cache)
    document = machine.json("adopt")
    assert "its cache is ours now, was theirs" in document["notes"][0]
    assert identity(machine)["cache_id"] == "ours"
    (kept,) = (machine.cache / ".zimage-syncd").glob("identity.json.*")
    assert json.loads(kept.read_text())["cache_id"] == "theirs"
    assert listing(machine.cache) == before
    assert machine.link.resolve() == machine.cache
    machine.run("verify", "--deep")
    assert "nothing to adopt" in machine.run("adopt").stdout


def test_an_identity_that_cannot_be_understood_is_replaced_and_kept(machine: Machine) -> None:
    machine.write_config()
    machine.fill()
    machine.run("backup")
    place = machine.cache / ".zimage-syncd/identity.json"
    place.write_text("{")
    assert "ZS116" in machine.run("backup", expected=1).stderr
    machine.run("adopt")
    (kept,) = place.parent.glob("identity.json.*")
    assert kept.read_text() == "{"
    machine.run("verify")


def test_a_missing_data_disk_is_not_adopted(machine: Machine) -> None:
    mount = machine.root / "data"
    shutil.rmtree(mount)
    mount.mkdir()
    machine.write_config(cache=f'mount = "{mount}"')
    assert "ZS101" in machine.run("adopt", expected=1).stderr
    assert os.listdir(mount) == []


@pytest.mark.parametrize("named", ["the cache", "its hub directory"])
def test_an_existing_cache_becomes_part_of_ours(machine: Machine, named: str) -> None:
    machine.write_config()
    other = machine.root / "home/.cache/huggingface"
    hf_snapshot(other, pipeline_files())
    before = listing(other)
    path = other if named == "the cache" else other / "hub"
    finished = machine.run("adopt", str(path))
    assert f"now a link to {machine.cache}" in finished.stdout
    assert listing(machine.cache) == before
    assert path.resolve() == (machine.cache if path == other else machine.cache / "hub")
    assert machine.link.resolve() == machine.cache
    machine.run("backup")
    machine.run("adopt", str(other))
    assert other.resolve() == machine.cache
    assert listing(machine.cache) == before


def test_a_real_directory_at_the_link_and_what_differs(machine: Machine) -> None:
    machine.write_config()
    machine.fill()
    hf_snapshot(machine.link, {"own": b"x"}, repo="my/lora")
    (machine.link / "token").write_text("hf_another")
    document = machine.json("adopt", expected=2)
    assert (machine.cache / "hub/models--my--lora/refs/main").is_file()
    (finding,) = document["findings"]
    assert (finding["problem"]["code"], finding["subject"]) == ("ZS119", f"{machine.link}.kept")
    assert (Path(f"{machine.link}.kept") / "token").read_text() == "hf_another"
    assert (machine.cache / "token").read_text() == "hf_verysecret"
    assert "hf_another" not in json.dumps(document)


def test_what_cannot_be_adopted_is_refused_with_a_reason(machine: Machine) -> None:
    machine.write_config()
    machine.fill()
    machine.run("backup")
    before = listing(machine.root)
    file = machine.root / "zimage.toml"
    disk = machine.root / "other-disk"
    (disk / ".zimage-syncd").mkdir(parents=True)
    (disk / ".zimage-syncd/identity.json").write_bytes((machine.cache / ".zimage-syncd/identity.json").read_bytes())
    for path, code, words in (
        (machine.root / "nowhere", 3, "there is no such directory"),
        (file, 3, "expected a directory with content, found a file"),
        (machine.cache / "hub", 3, "lie in each other"),
        (machine.root, 3, "lie in each other"),
        (disk, 3, "make it cache.mount"),
    ):
        assert words in machine.run("adopt", str(path), expected=code).stderr
    (disk / ".zimage-syncd/identity.json").unlink()
    assert {name: what for name, what in listing(machine.root).items() if not name.startswith("data/")} == {
        name: what for name, what in before.items() if not name.startswith("data/")
    }


@pytest.mark.parametrize("named", ["the cache", "its hub directory"])
@pytest.mark.parametrize("came_so_far", ["the link is there", "nothing is there", "a library was there"])
def test_a_killed_adoption_is_gone_on_with(machine: Machine, named: str, came_so_far: str) -> None:
    machine.write_config()
    other = machine.root / "home/.cache/huggingface"
    hf_snapshot(other, pipeline_files())
    before = listing(other)
    path, target = (other, machine.cache) if named == "the cache" else (other / "hub", machine.cache / "hub")
    path.rename(f"{path}.taking-in")
    if came_so_far == "the link is there":
        path.symlink_to(target)
    elif came_so_far == "a library was there":
        hf_snapshot(other, {"own": b"x"}, repo="my/lora")
    told = machine.run("adopt", str(path)).stdout
    assert told.count("now a link to") == 1
    assert path.is_symlink()
    assert path.resolve() == target
    assert os.listdir(path.parent) == [path.name]
    assert listing(machine.cache).items() >= before.items()
    assert (machine.cache / "hub/models--my--lora").is_dir() == (came_so_far == "a library was there")


def test_what_is_being_written_to_is_tried_again_later(machine: Machine) -> None:
    machine.write_config()
    hf_snapshot(machine.link, pipeline_files())
    before = listing(machine.link)
    with (machine.link / "download").open("wb"):
        finished = machine.run("adopt", expected=75)
    assert "ZS118" in finished.stderr
    assert listing(machine.link).items() >= before.items()
    machine.run("adopt")
    assert machine.link.resolve() == machine.cache
    assert listing(machine.cache).items() >= before.items()

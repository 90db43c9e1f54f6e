"""`health` as a process, with a program that draws without torch: references are made, kept and compared with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caches import hf_snapshot
from tests.support.loop_disk import LoopDisk
from tests.support.machine import Machine
from tests.support.painter import painter
from tests.support.tiny_safetensors import pipeline_files

pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.probe


SETTLED_S = 2.1
"""The ledger does not record what changed less than 2 s before."""


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Caches in which nothing has changed for long enough; a directory that is moved changes none of its files."""
    stock = [tmp_path_factory.mktemp("settled") for _ in range(40)]
    for place in stock:
        hf_snapshot(place, pipeline_files())
    time.sleep(SETTLED_S)
    return iter(stock)


@pytest.fixture
def artist(machine: Machine, settled: Iterator[Path]) -> Machine:
    """A machine with a snapshot, a bucket, and the painter."""
    next(settled).rename(machine.cache)
    python = painter(machine.root)
    machine.write_config(f'[backup]\nto = ["bucket"]\n[health]\npython = "{python}"\nsize_px = 64\ndevice = "cpu"')
    return machine


def state(machine: Machine) -> Path:
    return machine.cache / ".zimage-syncd"


def references(machine: Machine) -> list[Path]:
    return sorted((state(machine) / "references").glob("*/*.json"))


def likeness(document: dict[str, Any]) -> str | None:
    (row,) = document["results"]
    comparison = row["result"]["comparison"]
    return None if comparison is None else str(comparison["likeness"])


def weight(machine: Machine) -> Path:
    return next(machine.cache.glob("hub/models--org--name/snapshots/*/vae/*.safetensors")).resolve()


def flip_silently(place: Path) -> None:
    """What a disk does: another byte under the same size and times."""
    before = place.stat()
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_before_the_first_backup_no_picture_becomes_a_reference(artist: Machine) -> None:
    said = artist.run("health").stdout
    assert "no reference yet" in said
    assert "becomes no reference: the snapshot was never recorded" in said
    assert references(artist) == []


def test_the_first_good_picture_after_a_backup_is_the_reference_of_all_later_ones(artist: Machine) -> None:
    artist.run("backup")
    first = artist.json("health")
    assert likeness(first) is None
    assert any("is the reference from now on, for cpu" in note for note in first["notes"])
    (place,) = references(artist)
    kept = json.loads(place.read_bytes())
    assert kept["manifest_id"] == place.parent.name
    assert kept["facts"] == first["results"][0]["result"]["picture_facts"]
    before = {path: path.read_bytes() for path in place.parent.iterdir()}
    again = artist.json("health")
    assert likeness(again) == "same"
    assert again["notes"] == []
    assert {path: path.read_bytes() for path in place.parent.iterdir()} == before


def test_damage_makes_a_different_picture_and_never_the_reference(artist: Machine) -> None:
    artist.run("backup")
    artist.run("health")
    (place,) = references(artist)
    before = {path: path.read_bytes() for path in place.parent.iterdir()}
    flip_silently(weight(artist))
    document = artist.json("health", expected=2)
    (row,) = document["results"]
    assert row["result"]["outcome"] == "different_picture"
    assert [finding["problem"]["code"] for finding in document["findings"]] == ["ZS511"]
    assert Path(row["result"]["comparison"]["side_by_side"]).read_bytes().startswith(b"\x89PNG")
    assert {path: path.read_bytes() for path in place.parent.iterdir()} == before
    artist.run("verify", "--deep", "--repair", expected=2)
    assert likeness(artist.json("health")) == "same"


def test_weights_that_nobody_has_read_since_they_changed_make_no_reference(artist: Machine) -> None:
    artist.run("backup")
    data = bytearray(weight(artist).read_bytes())
    data[-1] ^= 1
    weight(artist).write_bytes(data)
    said = artist.run("health").stdout
    assert "becomes no reference: nobody has read" in said
    assert references(artist) == []


def test_a_file_that_was_not_recorded_makes_none_either(artist: Machine) -> None:
    artist.run("backup")
    snapshot = next(artist.cache.glob("hub/models--org--name/snapshots/*"))
    (snapshot / "more.safetensors").write_bytes(weight(artist).read_bytes())
    assert "other files are there than were recorded" in artist.run("health", expected=None).stdout
    assert references(artist) == []


def test_another_card_gets_a_reference_of_its_own(artist: Machine) -> None:
    artist.run("backup")
    artist.run("health")
    said = artist.run("health", LC_CARD="cuda:0 NVIDIA H200").stdout
    assert "none of the references (1)" in said
    assert "is the reference from now on, for NVIDIA H200" in said
    assert len(references(artist)) == 2
    assert "is the reference of" in artist.run("health", LC_CARD="cuda:1 NVIDIA H200").stdout


def test_where_the_reference_cannot_be_kept_the_check_is_as_good(artist: Machine) -> None:
    artist.run("backup")
    (state(artist) / "references").write_text("in the way")
    assert "could not be kept" in artist.run("health").stdout


def test_while_another_process_works_on_the_cache_the_reference_waits(artist: Machine) -> None:
    from zimage_syncd.disk.lock import cache_lock

    artist.run("backup")
    with cache_lock(str(state(artist)), "backup"):
        assert "could not be kept" in artist.run("health").stdout
    assert references(artist) == []
    assert "is the reference from now on" in artist.run("health").stdout


def test_status_tells_the_last_picture_its_times_and_what_became_of_them(artist: Machine) -> None:
    # 2: no cache link was made.
    assert artist.json("status", expected=2)["status"]["health"] == []
    artist.run("backup")
    for _ in range(4):
        artist.run("health")
    (row,) = artist.json("status", expected=2)["status"]["health"]
    assert (row["outcome"], row["level"], row["picture_outcome"], row["likeness"]) == ("ok", "generate", "ok", "same")
    assert Path(row["picture"]).is_file()
    assert row["step_s"] == 2.0 / 4
    assert row["peak_memory_bytes"] > 2**20
    whole, step = row["trends"]
    assert (whole["name"], whole["checks"]) == ("first image", 3)  # really measured, so any word may be right
    assert (step["name"], step["word"], step["checks"]) == ("step", "as usual", 3)
    said = artist.run("status", expected=2).stdout
    assert f"ok, the same as its reference  {row['picture']}" in said
    assert "step as usual (0.500 s; the median of 3 checks before is 0.500 s)" in said
    assert len(list((state(artist) / "health").iterdir())) == 4


def test_a_check_that_found_no_torch_is_remembered_without_a_picture(artist: Machine) -> None:
    artist.write_config('[health]\npython = "/no/such/python"')
    assert artist.json("health", "--level", "generate", expected=2)["notes"] == []
    (row,) = artist.json("status", expected=2)["status"]["health"]
    assert (row["outcome"], row["picture"], row["first_image_s"]) == ("missing_extra", "", None)


@pytest.mark.parametrize(("level", "exit_code"), [("auto", 0), ("load", 2)])
def test_a_check_without_torch_tells_when_there_was_some(artist: Machine, level: str, exit_code: int) -> None:
    artist.run("health")
    (row,) = artist.json("status", expected=2)["status"]["health"]
    artist.write_config('[health]\npython = "/no/such/python"')
    at = row["at"][:16].replace("T", " ")
    said = f"torch 2.13.0 was there for the check of {at} UTC: it may have been on a disk that was reset"
    for _ in range(2):
        document = artist.json("health", "--level", level, expected=exit_code)
        assert document["notes"] == [said]
        assert "/no/such/python" in document["results"][0]["result"]["detail"]


def test_records_that_cannot_be_kept_are_a_note(artist: Machine) -> None:
    (state(artist)).mkdir(exist_ok=True)
    (state(artist) / "health").write_text("in the way")
    assert "the record of the check could not be kept" in artist.run("health").stdout


def test_after_the_loss_of_both_disks_the_picture_is_compared_with_that_of_before(artist: Machine) -> None:
    artist.run("backup")
    assert "1 reference picture sent to bucket" in artist.run("health").stdout
    before = [path.read_bytes() for path in references(artist)]
    shutil.rmtree(artist.root / "data")
    shutil.rmtree(artist.root / "system", ignore_errors=True)  # nothing was ever written there
    artist.cache.mkdir(parents=True)
    assert "1 reference picture brought back" in artist.run("restore").stdout
    assert [path.read_bytes() for path in references(artist)] == before
    assert likeness(artist.json("health")) == "same"


def test_a_reference_that_was_damaged_in_the_archive_is_replaced_by_the_next_good_picture(artist: Machine) -> None:
    """Both disks were lost, and nothing could be brought back; nor could what the next check drew be sent."""
    artist.run("backup")
    artist.run("health")
    (document,) = (artist.bucket / "pictures").rglob("*.json")
    document.write_bytes(b"{")
    shutil.rmtree(artist.root / "data")
    artist.cache.mkdir(parents=True)
    assert "reference picture" not in artist.run("restore").stdout
    checked = artist.run("health")
    assert "1 reference picture sent to bucket" in checked.stdout
    assert "in bucket cannot be understood: it is replaced" in checked.stderr
    assert [document.read_bytes()] == [path.read_bytes() for path in references(artist)]


def test_an_archive_that_takes_no_picture_is_a_note_and_the_next_backup_sends_it(artist: Machine) -> None:
    artist.run("backup")
    (artist.bucket / "pictures").write_text("in the way")
    said = artist.run("health").stdout
    assert "is the reference from now on" in said
    assert "reference pictures could not be sent to bucket" in said
    (artist.bucket / "pictures").unlink()
    assert "1 reference picture sent to bucket" in artist.run("backup").stdout


def test_on_a_read_only_data_disk_the_check_is_done_and_nothing_is_kept(machine: Machine, data_disk: LoopDisk) -> None:
    machine.cache.mkdir(parents=True, exist_ok=True)
    hf_snapshot(machine.cache, pipeline_files())
    time.sleep(SETTLED_S)
    python = painter(machine.root)
    mount = f'mount = "{machine.root}/data"'
    machine.write_config(f'[backup]\nto = ["bucket"]\n[health]\npython = "{python}"\nsize_px = 64', cache=mount)
    machine.run("backup")
    before = sorted((machine.root / "data/.zimage-syncd").rglob("*"))
    subprocess.run(["mount", "-o", "remount,ro", str(machine.root / "data")], check=True)
    said = machine.run("health").stdout
    assert "healthy" in said
    assert "the record of the check could not be kept" in said
    assert sorted((machine.root / "data/.zimage-syncd").rglob("*")) == before

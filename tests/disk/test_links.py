"""Cache links: made in one step, never over somebody's data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_syncd.disk.links import make_cache_link, observe_link
from zimage_syncd.disk.tree import Ownership
from zimage_syncd.model.failures import LinkOccupied, UnsafePath
from zimage_syncd.model.observation import LinkKind


def test_a_missing_link_is_made_with_its_parents(tmp_path: Path) -> None:
    link = tmp_path / "root/workspace/model_cache"
    make_cache_link(str(link), str(tmp_path / "data"))
    assert os.readlink(link) == str(tmp_path / "data")
    assert os.listdir(link.parent) == ["model_cache"]


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".zimage-syncd-0123456789abcdef.partial").symlink_to(tmp_path / "data")
    kept = [tmp_path / ".zimage-syncd-other.partial", tmp_path / ".zimage-syncd-file.partial", tmp_path / "own"]
    kept[0].symlink_to(tmp_path / "another cache")
    kept[1].write_text("x")
    kept[2].symlink_to(tmp_path / "data")
    make_cache_link(str(tmp_path / "cache"), str(tmp_path / "data"))
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "cache"])


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_link_and_the_directories_made_for_it_are_the_owners(tmp_path: Path) -> None:
    link = tmp_path / "home/workspace/model_cache"
    (tmp_path / "home").mkdir()
    make_cache_link(str(link), str(tmp_path / "data"), Ownership(1234, 5678))
    assert [(place.lstat().st_uid, place.lstat().st_gid) for place in (link, link.parent)] == [(1234, 5678)] * 2
    assert (tmp_path / "home").stat().st_uid == 0, "what was there stays whose it was"


def test_a_file_in_the_way_of_a_directory_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("precious")
    with pytest.raises(UnsafePath, match="home/workspace/model_cache"):
        make_cache_link(str(tmp_path / "home/workspace/model_cache"), str(tmp_path / "data"))
    assert (tmp_path / "home").read_text() == "precious"


def test_a_way_that_leads_in_a_circle_is_told_and_keeps_no_other_link_from_being_made(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "home")
    place = str(tmp_path / "home/model_cache")
    assert observe_link(place).kind is LinkKind.ABSENT
    with pytest.raises(UnsafePath, match="home/model_cache"):
        make_cache_link(place, str(tmp_path / "data"))


def test_a_link_that_points_elsewhere_is_turned(tmp_path: Path) -> None:
    link = tmp_path / "cache"
    link.symlink_to(tmp_path / "elsewhere")
    make_cache_link(str(link), str(tmp_path / "data"))
    assert os.readlink(link) == str(tmp_path / "data")


def test_an_empty_directory_gives_way(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    make_cache_link(str(tmp_path / "cache"), str(tmp_path / "data"))
    assert os.readlink(tmp_path / "cache") == str(tmp_path / "data")


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_somebodys_data_is_never_touched(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "cache"
    if kind == "directory":
        place.mkdir()
        (place / "weights").write_bytes(b"precious")
    else:
        place.write_bytes(b"precious")
    with pytest.raises(LinkOccupied, match="cache"):
        make_cache_link(str(place), str(tmp_path / "data"))
    kept = place / "weights" if kind == "directory" else place
    assert kept.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["cache"]


def test_what_lies_there_is_seen(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    kinds = {name: observe_link(str(tmp_path / name)).kind for name in ("link", "empty", "absent")}
    assert kinds == {"link": LinkKind.SYMLINK, "empty": LinkKind.EMPTY_DIRECTORY, "absent": LinkKind.ABSENT}

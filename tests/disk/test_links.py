"""Cache links: made in one step, never over somebody's data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_syncd.disk.links import make_cache_link, observe_link
from zimage_syncd.model.failures import LinkOccupied
from zimage_syncd.model.observation import LinkKind


def test_a_missing_link_is_made_with_its_parents(tmp_path: Path) -> None:
    link = tmp_path / "root/workspace/model_cache"
    make_cache_link(str(link), str(tmp_path / "data"))
    assert os.readlink(link) == str(tmp_path / "data")
    assert os.listdir(link.parent) == ["model_cache"]


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

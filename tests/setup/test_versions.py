"""The versions of an installation on the disk that stays."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from zimage_syncd.setup.versions import About, begin_version, finish_version, known_versions, line_in_use

ABOUT = About("1.0-abc", "1" * 64, "2" * 64, "/etc/zimage-syncd/config.toml", "3" * 64)


def made(directory: Path, sequence: int, script: str) -> Path:
    about = dataclasses.replace(ABOUT, script_sha256=script * 64)
    return Path(finish_version(begin_version(str(directory)), about, sequence))


def test_versions_are_known_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    second, first = made(tmp_path, 2, "a"), made(tmp_path, 1, "b")
    assert [version.directory for version in known_versions(str(tmp_path))] == [str(first), str(second)]
    assert first.name == "0001-1.0-bbbbbbbbbbbb"
    assert [version.about.script_sha256[0] for version in known_versions(str(tmp_path))] == ["b", "a"]


def test_the_line_in_use_is_the_newest_that_a_machine_was_started_by(tmp_path: Path) -> None:
    places = [made(tmp_path, number, str(number)) for number in (1, 2, 3)]
    assert line_in_use(known_versions(str(tmp_path))) is None
    for place in places[:2]:
        (place / "used").touch()
    found = line_in_use(known_versions(str(tmp_path)))
    assert found is not None
    assert found.directory == str(places[1])


def test_what_was_not_finished_does_not_count_and_is_removed(tmp_path: Path) -> None:
    making = Path(begin_version(str(tmp_path)))
    (making / "program.tar").write_bytes(b"half")
    (tmp_path / "versions/.making-1").mkdir()
    assert known_versions(str(tmp_path)) == []
    begin_version(str(tmp_path))
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [f".making-{os.getpid()}"]
    assert list(making.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"program": 1}'])
def test_what_cannot_be_understood_is_passed_over(tmp_path: Path, content: bytes) -> None:
    place = made(tmp_path, 1, "a")
    (place / "version.json").write_bytes(content)
    assert known_versions(str(tmp_path)) == []


def test_without_an_installation_there_are_none(tmp_path: Path) -> None:
    assert known_versions(str(tmp_path)) == []

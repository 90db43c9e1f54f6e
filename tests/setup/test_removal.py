"""What `uninstall` takes from a system disk."""

from __future__ import annotations

import os
from pathlib import Path

from zimage_syncd.setup.boot import HOMES
from zimage_syncd.setup.removal import copies_in, remove_copies, remove_from_disk, remove_from_system
from zimage_syncd.setup.units import MARK


def put(root: Path, name: str, content: str) -> Path:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return place


def test_only_what_was_written_here_is_removed(tmp_path: Path) -> None:
    ours = [
        put(tmp_path, "etc/systemd/system/zimage-syncd.service", f"{MARK}\n[Unit]\n"),
        put(tmp_path, "etc/systemd/system/mnt-data.mount", f"{MARK}\n[Mount]\n"),
        put(tmp_path, "etc/sysusers.d/zimage-syncd.conf", f"{MARK}\n"),
        put(tmp_path, f"{HOMES[1:]}/1.0-abc/complete", ""),
        put(tmp_path, f"{HOMES[1:]}/.new.x/program.tar", ""),
    ]
    others = [
        put(tmp_path, "etc/systemd/system/mnt-other.mount", "[Mount]\n"),
        put(tmp_path, "etc/systemd/system/zimage-syncd.service.d/local.conf", "[Service]\n"),
        put(tmp_path, "etc/tmpfiles.d/zimage-syncd.conf", "d /etc/zimage-syncd\n"),
        put(tmp_path, "etc/zimage-syncd/config.toml", f"{MARK}\n"),
        put(tmp_path, f"{HOMES[1:]}/venv/bin/python", ""),
    ]
    link = tmp_path / "usr/local/bin/zimage-syncd"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"{HOMES}/1.0-abc/bin/zimage-syncd")
    assert len(remove_from_system(str(tmp_path))) == 4
    homes = f"{tmp_path}{HOMES}"
    assert [os.path.basename(place) for place in copies_in(homes)] == [".new.x", "1.0-abc"]
    remove_copies(homes, kept="1.0-abc")
    assert [os.path.basename(place) for place in copies_in(homes)] == ["1.0-abc"]
    remove_copies(homes)
    assert [path for path in (*ours, link) if os.path.lexists(path)] == []
    assert [path for path in others if not path.exists()] == []
    assert remove_from_system(str(tmp_path)) == []


def test_somebody_elses_command_of_this_name_stays(tmp_path: Path) -> None:
    link = tmp_path / "usr/local/bin/zimage-syncd"
    link.parent.mkdir(parents=True)
    link.symlink_to("/venv/bin/zimage-syncd")
    assert remove_from_system(str(tmp_path)) == []
    assert os.path.lexists(link)


def test_a_directory_that_holds_something_else_stays(tmp_path: Path) -> None:
    for directory in ("alone", "shared"):
        put(tmp_path, f"{directory}/versions/0001-1.0-a/program.tar", "x")
        put(tmp_path, f"{directory}/identity.json", "{}")
    mine = put(tmp_path, "shared/mine.txt", "x")
    for directory in ("alone", "shared"):
        assert remove_from_disk(str(tmp_path / directory)) == [str(tmp_path / directory / "versions")]
    assert list(tmp_path.iterdir()) == [tmp_path / "shared"]
    assert list((tmp_path / "shared").iterdir()) == [mine]

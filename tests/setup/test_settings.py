"""Which files of a system come along."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_syncd.model.failures import PathUnreadable
from zimage_syncd.setup.mounts import Mounted
from zimage_syncd.setup.settings import CONFIG, ENVIRONMENT, settings_files

SYSTEM = Mounted("/", "/", "ext4", "/dev/vda1", ())


def put(root: Path, name: str, content: bytes) -> Path:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return place


def test_settings_are_the_configuration_and_what_belongs_to_it(tmp_path: Path) -> None:
    config = put(tmp_path, "mine.toml", b"[cache]")
    keys = put(tmp_path, "home/keys", b"key")
    put(tmp_path, ENVIRONMENT[1:], b"A=b")
    put(tmp_path, "etc/systemd/system/zimage-syncd.service.d/local.conf", b"[Service]")
    put(tmp_path, "etc/systemd/system/zimage-syncd.service.d/notes.txt", b"")
    found = settings_files(str(config), [str(keys)], [SYSTEM], str(tmp_path))
    assert {(file.path, file.content, file.mode) for file in found} == {
        (CONFIG, b"[cache]", 0o600),
        (str(keys), b"key", 0o600),
        (ENVIRONMENT, b"A=b", 0o600),
        ("/etc/systemd/system/zimage-syncd.service.d/local.conf", b"[Service]", 0o644),
    }


def test_what_lies_on_another_disk_outlives_a_reset_by_itself(tmp_path: Path) -> None:
    config, keys = put(tmp_path, "mine.toml", b""), put(tmp_path, "data/keys", b"key")
    data = Mounted(str(tmp_path / "data"), "/", "ext4", "/dev/vdb", ())
    found = settings_files(str(config), [str(keys)], [SYSTEM, data], str(tmp_path))
    assert [file.path for file in found] == [CONFIG]


@pytest.mark.parametrize("content", [None, b"x" * (2**20 + 1)], ids=["missing", "too large"])
def test_a_named_file_that_cannot_be_taken_along_is_named(tmp_path: Path, content: bytes | None) -> None:
    config, keys = put(tmp_path, "mine.toml", b""), tmp_path / "keys"
    if content is not None:
        keys.write_bytes(content)
    with pytest.raises(PathUnreadable, match="keys"):
        settings_files(str(config), [str(keys)], [SYSTEM], str(tmp_path))

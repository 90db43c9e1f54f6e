"""Where an installation may lie: what others can write must not become root, what others can read holds no keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_syncd.model.failures import PlaceNotLasting
from zimage_syncd.setup.installer import require_modes
from zimage_syncd.setup.versions import SCRIPT, SETTINGS

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="files must be root's")]


@pytest.mark.parametrize(
    ("script", "settings", "words"),
    [
        (0o644, 0o600, ""),
        (0o755, 0o755, "others could read the settings"),
        (0o644, 0o640, "others could read the settings"),
        (0o777, 0o777, "only what is root's alone"),
    ],
)
def test_a_file_system_has_to_keep_modes(tmp_path: Path, script: int, settings: int, words: str) -> None:
    for name, mode in ((SCRIPT, script), (SETTINGS, settings)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    if not words:
        require_modes(str(tmp_path), "/mnt/usb")
        return
    with pytest.raises(PlaceNotLasting, match=words) as caught:
        require_modes(str(tmp_path), "/mnt/usb")
    assert caught.value.subject == "/mnt/usb"

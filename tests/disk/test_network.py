"""Which file systems other hosts reach: a disk of this host's never is one, however it is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_syncd.disk.network import is_network


@pytest.mark.parametrize("path", ["/", "/proc", "/dev/shm", "/nowhere/at/all"])
def test_what_is_on_this_host_is_no_network(path: str) -> None:
    assert not is_network(path)


def test_a_directory_that_is_not_there_yet_is_where_its_parent_is(tmp_path: Path) -> None:
    assert not is_network(str(tmp_path / "not/there"))
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert not is_network(str(tmp_path / "link"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mount_of_fuse_is_one(tmp_path: Path) -> None:
    place = tmp_path / "mount"
    place.mkdir()
    finished = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", "tests.support.fuse_mount", str(place)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    if finished.returncode == 75 or "unshare" in finished.stderr:
        pytest.skip(f"FUSE is not possible here: {finished.stderr}")
    assert finished.stdout.split() == ["True", "True"], finished.stderr

"""The units that are put onto a system disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from zimage_syncd.setup.mounts import DiskAddress
from zimage_syncd.setup.units import MARK, mount_unit, system_units, unit_name

SHARE = Path(__file__).parents[2] / "systemd"
DISK = DiskAddress("/mnt/my data", "UUID=3f1b-22", "ext4", "noatime")


@pytest.mark.parametrize("point", ["/mnt/data", "/mnt/my data", "/.hidden/ä-b", "/a//b/", "/"])
def test_a_mount_unit_is_named_as_systemd_names_it(point: str) -> None:
    if shutil.which("systemd-escape") is None:
        pytest.skip("systemd is not installed")
    command = ["systemd-escape", "--path", "--suffix=mount", point]
    expected = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert unit_name(point, "mount") == expected


@pytest.mark.parametrize("disk", [DISK, DiskAddress("/mnt/d%d", "LABEL=a.b", "btrfs", "ro,subvol=/@x")])
def test_systemd_takes_the_mount_unit(disk: DiskAddress, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    place = tmp_path / unit_name(disk.point, "mount")
    place.write_bytes(mount_unit(disk))
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    command = ["systemd-analyze", "verify", "--man=no", str(place)]
    verified = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_mount_unit_holds_no_start_of_the_machine_up() -> None:
    lines = mount_unit(DISK).decode().splitlines()
    assert "What=/dev/disk/by-uuid/3f1b-22" in lines
    assert "Options=nofail,noatime" in lines
    assert r"WantedBy=dev-disk-by\x2duuid-3f1b\x2d22.device" in lines
    assert "Before=zimage-syncd.service" in lines


def test_units_start_the_copy_and_nothing_else() -> None:
    files = {file.path: file.content.decode() for file in system_units(str(SHARE), "/usr/local/lib/x/1", DISK)}
    assert "ExecStart=/usr/local/lib/x/1/bin/zimage-syncd run" in files["/etc/systemd/system/zimage-syncd.service"]
    assert not [path for path, text in files.items() if "/usr/local/bin/zimage-syncd" in text]
    assert all(text.startswith(MARK) for text in files.values())
    assert {path for path in files if not path.startswith("/etc/systemd/system/zimage-syncd")} == {
        r"/etc/systemd/system/mnt-my\x20data.mount",
        "/etc/sysusers.d/zimage-syncd.conf",
        "/etc/tmpfiles.d/zimage-syncd.conf",
    }


@pytest.mark.parametrize("disk", [None, DiskAddress("/shared", "", "nfs4", "", "no disk")])
def test_a_disk_that_cannot_be_named_gets_no_unit(disk: DiskAddress | None) -> None:
    assert not [file for file in system_units(str(SHARE), "/x", disk) if file.path.endswith(".mount")]

"""The machine itself: what the other tests take for granted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine.disk import make_data_disk
from tests.machine.guest import Guest, GuestFailed
from tests.machine.image import Image

pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]


def test_it_runs_commands_and_a_reset_loses_the_system_disk_only(guest: Guest, tmp_path: Path) -> None:
    guest.disks = [make_data_disk(tmp_path / "data.img")]
    guest.boot()
    assert guest.check("ps -o comm= -p 1") == "systemd\n"
    finished = guest.run("echo out; echo err >&2; exit 7")
    assert (finished.exit_code, finished.stdout, finished.stderr) == (7, "out\n", "err\n")
    bytes_of_all_kinds = bytes(range(256)) * 4096
    guest.put("/kept/file", bytes_of_all_kinds, 0o640)
    assert guest.check("stat -c '%a %s' /kept/file; tail -c 3 /kept/file | od -An -tx1") == "640 1048576\n fd fe ff\n"
    guest.check("mount LABEL=data /mnt && cp /kept/file /mnt && sync")
    guest.power_off()
    assert not guest.is_on
    guest.boot()
    guest.check("cmp /kept/file <(mount LABEL=data /mnt && cat /mnt/file)")
    guest.kill()
    guest.fresh_system()
    guest.boot()
    assert guest.run("test -e /kept").exit_code == 1
    guest.check("mount LABEL=data /mnt && test -s /mnt/file")


def test_a_command_that_hangs_fails_and_the_next_one_runs(guest: Guest) -> None:
    guest.boot()
    with pytest.raises(GuestFailed, match="not done after 2 s: 'echo before; sleep 1000'\nbefore"):
        guest.run("echo before; sleep 1000", timeout_s=2)
    assert guest.check("sleep 1000 & echo after") == "after\n"


def test_a_disk_can_be_plugged_in_and_pulled_out_while_it_runs(guest: Guest, tmp_path: Path) -> None:
    guest.boot()
    disk = make_data_disk(tmp_path / "late.img")
    guest.attach(disk)
    guest.check("mount /dev/disk/by-id/virtio-late /mnt && echo text > /mnt/file && sync")
    guest.detach(disk)
    guest.wait_for("! test -e /dev/disk/by-id/virtio-late")
    assert guest.run("umount /mnt; echo 3 > /proc/sys/vm/drop_caches; cat /mnt/file").exit_code == 1
    guest.attach(disk)
    assert guest.wait_for("mount /dev/disk/by-id/virtio-late /mnt && cat /mnt/file") == "text\n"


def test_a_machine_that_does_not_boot_shows_its_console(system_image: Image, tmp_path: Path) -> None:
    broken = Image(tmp_path / "empty.img", system_image.kernel, system_image.initrd)
    broken.disk.write_bytes(bytes(2**20))
    with Guest(tmp_path / "guest", broken) as guest, pytest.raises(GuestFailed, match="virtio-system does not exist"):
        guest.boot()


def test_without_python_there_is_a_shell_all_the_same(bare_image: Image, tmp_path: Path) -> None:
    with Guest(tmp_path / "guest", bare_image) as guest:
        guest.boot()
        guest.check("! command -v python3 && ! ls /usr/bin/python* /opt/zimage-syncd")
        assert guest.check("echo out") == "out\n"
        guest.power_off()

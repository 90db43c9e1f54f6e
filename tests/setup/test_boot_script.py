"""The boot script on systems of its own: what it checks, what it puts where, what it leaves alone.

The program is a small one here; the real one is in test_installed_copy.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.instance import POINT, Instance
from zimage_syncd.setup.boot import Pinned, boot_script, sha256_of, start_line
from zimage_syncd.setup.copied_file import files_below
from zimage_syncd.setup.ground import SystemFile
from zimage_syncd.setup.parcel import pack_program, pack_settings
from zimage_syncd.setup.units import MARK

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("instance")]
PROGRAM = """#!/bin/sh
[ "$1" != --version ] || exit 0
echo "runs with $SECRET"
home=$(readlink -f "$0")
exec "${home%/*}/sleeper" 60
"""
BROKEN = "#!/bin/sh\necho 'no such library' >&2\nexit 127\n"
HOMES = "usr/local/lib/zimage-syncd"
CONFIG = "etc/zimage-syncd/config.toml"
NOTHING = "nothing was started"
ID = "5b1c-cache"


class Installed:
    """A version on a data disk, and its line."""

    def __init__(self, instance: Instance, work: Path, *, sequence: int = 1, program: str = PROGRAM) -> None:
        self.instance = instance
        self._path = f".zimage-syncd/install/versions/000{sequence}-1.0-x"
        self._name = f"1.0-{hashlib.sha256(program.encode()).hexdigest()[:8]}"
        data = instance.mount_data()
        self.directory = data / self._path
        self.directory.mkdir(parents=True)
        (data / ".zimage-syncd/identity.json").write_text(json.dumps({"format": 1, "cache_id": ID}))
        source = work / f"program-{sequence}/bin"
        source.mkdir(parents=True)
        (source / "zimage-syncd").write_text(program)
        (source / "zimage-syncd").chmod(0o755)
        shutil.copy("/bin/sleep", source / "sleeper")
        packed = pack_program(files_below(str(source.parent), ""), str(self.directory / "program.tar"))
        settings = pack_settings(
            [SystemFile("/etc/systemd/system/zimage-syncd.service", f"{MARK}\n[Unit]\n".encode())],
            [SystemFile(f"/{CONFIG}", b"[cache]\n", 0o600), SystemFile("/etc/zimage-syncd/environment", b"SECRET=42")],
        )
        (self.directory / "settings.tar").write_bytes(settings)
        pinned = Pinned(
            program=self._name,
            program_sha256=packed,
            settings_sha256=hashlib.sha256(settings).hexdigest(),
            cache_id=ID,
            identity=".zimage-syncd/identity.json",
            place=POINT,
            mount_point=POINT,
            mount_unit="mnt-data.mount",
            machine=platform.machine(),
            glibc="2.36",
        )
        script = boot_script(pinned)
        (self.directory / "boot.sh").write_text(script)
        self.line = start_line(pinned, f"{self._path}/boot.sh", sha256_of(script), f"UUID={instance.uuid}", "noatime")

    @property
    def home(self) -> Path:
        """Where the program is unpacked."""
        return self.instance.root / HOMES / self._name


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    """A fresh system, with a data disk that was made before and is not mounted."""
    with Instance(tmp_path / "instance") as instance:
        made = Installed(instance, tmp_path)
        instance.unmount_data()
        yield made


def test_the_line_mounts_the_disk_and_puts_everything_in_place(installed: Installed) -> None:
    done = installed.instance.run(f"{installed.line}\ngrep {POINT} /proc/mounts; cat /var/log/zimage-syncd.log")
    assert f"{POINT} ext4 rw,noatime" in done.stdout, done.stderr
    assert "runs with 42" in done.stdout
    root = installed.instance.root
    assert (root / CONFIG).read_bytes() == b"[cache]\n"
    assert (root / CONFIG).stat().st_mode & 0o777 == 0o600
    assert (root / CONFIG).stat().st_mtime > 1_000_000_000
    assert os.readlink(root / "usr/local/bin/zimage-syncd") == f"/{HOMES}/{installed.home.name}/bin/zimage-syncd"
    assert not (root / "etc/systemd/system/zimage-syncd.service").exists(), "there is no systemd"
    assert [path.name for path in (root / HOMES).iterdir()] == [installed.home.name]
    assert (installed.instance.mount_data() / ".zimage-syncd/install/versions/0001-1.0-x/used").exists()


def test_the_line_run_twice_starts_one_program(installed: Installed) -> None:
    count = "for each in /proc/[0-9]*/exe; do readlink $each; done | grep -c sleeper"
    done = installed.instance.run(f"{installed.line}\n{installed.line}\n{count}")
    assert done.stdout == "1\n", done.stderr
    assert "it runs already" in done.stderr


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_after_a_power_cut_nothing_counts_that_is_not_on_the_disk(installed: Installed, moment: int) -> None:
    """Everything that counts by its name was written to the disk before it had it; the cut comes just before."""
    root = installed.instance.root
    sync = root / "usr/local/sbin/sync"
    sync.parent.mkdir(parents=True, exist_ok=True)
    sync.write_text(f"#!/bin/sh\necho x >>/synced\n[ $(wc -l </synced) != {moment} ] || kill -9 $PPID\n")
    sync.chmod(0o755)
    assert installed.instance.run(installed.line).returncode != 0
    places = [
        installed.home / "complete",
        *(root / "etc/zimage-syncd" / name for name in ("config.toml", "environment")),
    ]
    assert sum(place.exists() for place in places) == moment - 1
    sync.unlink()
    (left,) = (root / HOMES).glob(".new.*")
    os.utime(left, (1, 1))
    again = installed.instance.run(f"umount {POINT}; {installed.line}")
    assert again.returncode == 0, again.stderr
    assert all(place.exists() for place in places)
    assert [path.name for path in (root / HOMES).iterdir()] == [installed.home.name]


def test_another_version_s_program_is_ended_before(installed: Installed, tmp_path: Path) -> None:
    newer = Installed(installed.instance, tmp_path, sequence=2, program=PROGRAM.replace("runs", "newly runs"))
    count = "for each in /proc/[0-9]*/exe; do readlink $each; done | grep sleeper"
    done = installed.instance.run(f"{installed.line}\n{newer.line}\n{count}")
    assert done.stdout == f"/{HOMES}/{newer.home.name}/bin/sleeper\n", done.stderr
    link = installed.instance.root / "usr/local/bin/zimage-syncd"
    assert newer.home.name in os.readlink(link)


def test_an_old_version_stays_until_a_newer_line_was_used(installed: Installed, tmp_path: Path) -> None:
    newer = Installed(installed.instance, tmp_path, sequence=2)
    versions = newer.directory.parent
    assert installed.instance.run(installed.line).returncode == 0
    assert sorted(path.name for path in versions.iterdir()) == ["0001-1.0-x", "0002-1.0-x"]
    assert installed.instance.run(newer.line).returncode == 0
    assert [path.name for path in versions.iterdir()] == ["0002-1.0-x"]
    gone = installed.instance.run(installed.line)
    assert (gone.returncode, gone.stderr.count(NOTHING)) == (1, 1)


def flip_the_program(version: Path) -> None:
    content = (version / "program.tar").read_bytes()
    (version / "program.tar").write_bytes(content.replace(b"sleeper", b"slee.er"))


def truncate_the_program(version: Path) -> None:
    os.truncate(version / "program.tar", 1000)


def give_the_program_away(version: Path) -> None:
    os.chown(version / "program.tar", 1000, 1000)


def open_the_program_to_all(version: Path) -> None:
    (version / "program.tar").chmod(0o666)


def link_the_program(version: Path) -> None:
    (version / "program.tar").rename(version / "other.tar")
    (version / "program.tar").symlink_to("other.tar")


def remove_the_program(version: Path) -> None:
    (version / "program.tar").unlink()


def change_the_settings(version: Path) -> None:
    content = (version / "settings.tar").read_bytes()
    (version / "settings.tar").write_bytes(content.replace(b"SECRET=42", b"SECRET=43"))


def give_the_settings_away(version: Path) -> None:
    os.chown(version / "settings.tar", 1000, 1000)


def change_the_script(version: Path) -> None:
    with (version / "boot.sh").open("a") as file:
        file.write("touch /root/owned\n")


@pytest.mark.parametrize(
    "damage",
    [
        flip_the_program,
        truncate_the_program,
        give_the_program_away,
        open_the_program_to_all,
        link_the_program,
        remove_the_program,
        change_the_settings,
        give_the_settings_away,
        change_the_script,
    ],
)
def test_nothing_runs_of_a_disk_that_somebody_changed(installed: Installed, damage: Callable[[Path], None]) -> None:
    data = installed.instance.mount_data()
    damage(data / installed.directory.relative_to(data))
    done = installed.instance.run(f"{installed.line}; ls /proc/[0-9]*/exe -l | grep sleeper")
    assert done.stdout == ""
    assert done.stderr.rstrip().endswith(NOTHING)
    root = installed.instance.root
    places = ("etc/zimage-syncd", "root/owned", "usr/local/bin/zimage-syncd", "run/zimage-syncd.pid")
    assert [path for path in places if os.path.lexists(root / path)] == []
    assert list((root / HOMES).glob(".new*")) == []


def test_a_foreign_disk_is_neither_run_from_nor_left_mounted(installed: Installed, tmp_path: Path) -> None:
    with Instance(tmp_path / "foreign") as foreign:
        # As somebody may make one: with the same UUID, so that the line mounts it.
        line = installed.line.replace(installed.instance.uuid, foreign.uuid)
        done = foreign.run(f"{line}; mountpoint {POINT}")
        assert f"{POINT} is not a mountpoint" in done.stdout + done.stderr
        assert NOTHING in done.stderr
        assert (foreign.root / POINT[1:]).is_dir(), "it was mounted, and is not any more"


def test_a_disk_that_the_provider_mounts_elsewhere_is_led_to(installed: Installed) -> None:
    installed.instance.mount_data("/other/my place")
    done = installed.instance.run(f"{installed.line}\ncat {POINT}/.zimage-syncd/identity.json; mountpoint {POINT}")
    assert ID in done.stdout, done.stderr
    assert f"{POINT} is a mountpoint" in done.stdout
    assert f"{POINT} leads to the disk, which is mounted at /other/my place" in done.stderr


def test_where_mounts_are_not_allowed_a_link_leads_to_the_disk(installed: Installed) -> None:
    installed.instance.mount_data("/other")
    done = installed.instance.run(f"setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin sh -c '{installed.line}'")
    assert done.returncode == 0, done.stderr
    assert os.readlink(installed.instance.root / POINT[1:]) == "/other"


def test_what_lies_where_the_disk_belongs_is_not_covered(installed: Installed) -> None:
    installed.instance.mount_data("/other")
    (installed.instance.root / POINT[1:]).mkdir(parents=True, exist_ok=True)
    (installed.instance.root / POINT[1:] / "mine").touch()
    done = installed.instance.run(installed.line)
    assert done.returncode == 1
    assert "something else is in /mnt/data; nothing was started" in done.stderr


def test_what_a_person_changed_on_the_system_stays(installed: Installed) -> None:
    place = installed.instance.root / CONFIG
    place.parent.mkdir()
    place.write_text("mine\n")
    mine = installed.instance.root / "usr/local/bin/zimage-syncd"
    mine.symlink_to("/bin/true")
    assert installed.instance.run(installed.line).returncode == 0
    assert place.read_text() == "mine\n"
    assert os.readlink(mine) == "/bin/true"


def test_a_program_that_does_not_start_here_changes_nothing(tmp_path: Path) -> None:
    with Instance(tmp_path / "instance") as instance:
        installed = Installed(instance, tmp_path, program=BROKEN)
        done = instance.run(installed.line)
        assert done.returncode == 1
        assert "the program does not start: no such library (needed is glibc 2.36, here is glibc 2." in done.stderr
        assert not (instance.root / CONFIG).exists()
        assert list((instance.root / HOMES).iterdir()) == []


def test_a_disk_of_another_cache_starts_nothing(installed: Installed) -> None:
    data = installed.instance.mount_data()
    (data / ".zimage-syncd/identity.json").write_text(json.dumps({"format": 1, "cache_id": "another"}))
    done = installed.instance.run(installed.line)
    assert (done.returncode, done.stdout) == (1, "")
    assert NOTHING in done.stderr

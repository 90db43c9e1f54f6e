"""The one line, run by real shells: it starts what it was made for, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_syncd.setup.boot import Pinned, boot_script, sha256_of, start_line

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="the line takes only what belongs to root"),
]
ID = "0b4e1d3c-cache"
SCRIPT = ".zimage-syncd/install/versions/0001-1/boot.sh"
IDENTITY = ".zimage-syncd/identity.json"
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def pinned(place: str) -> Pinned:
    return Pinned(
        program="1-f",
        program_sha256="0" * 64,
        settings_sha256="1" * 64,
        cache_id=ID,
        identity=IDENTITY,
        place=place,
        mount_point=place,
        mount_unit="",
        machine="m",
        glibc="2.36",
    )


class Disk:
    """A disk whose boot script says where it was started from."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.script = directory / SCRIPT
        self.script.parent.mkdir(parents=True)
        # A single quote, a dollar and blank lines: what a shell could take for more than itself.
        self.text = 'echo "ran $1|$2|it\'s $0"\n\n# end'
        self.script.write_text(f"{self.text}\n")
        self.script.chmod(0o644)
        (directory / IDENTITY).write_text(json.dumps({"format": 1, "cache_id": ID}))

    def line(self, place: str | None = None) -> str:
        return start_line(pinned(place or str(self.directory)), SCRIPT, sha256_of(f"{self.text}\n"), "", "")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "my data")


def sh(line: str, shell: str = "dash") -> subprocess.CompletedProcess[str]:
    command = [shell, *(["sh"] if shell == "busybox" else []), "-c", f"set -eu\n{line}"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_line_starts_the_script_that_it_was_made_for(disk: Disk, shell: str) -> None:
    said = sh(disk.line(), shell)
    assert (said.returncode, said.stdout) == (0, f"ran {disk.directory}|{SCRIPT}|it's zimage-syncd\n"), said.stderr


def flip(disk: Disk) -> None:
    disk.script.write_text(disk.script.read_text().replace("ran", "run"))


def append_a_command(disk: Disk) -> None:
    disk.script.write_text(disk.script.read_text() + "rm -rf /nothing\n")


def give_away(disk: Disk) -> None:
    os.chown(disk.script, 1000, 1000)


def open_to_a_group(disk: Disk) -> None:
    disk.script.chmod(0o664)


def open_to_all(disk: Disk) -> None:
    disk.script.chmod(0o646)


def link(disk: Disk) -> None:
    disk.script.rename(disk.script.with_name("elsewhere.sh"))
    disk.script.symlink_to("elsewhere.sh")


def remove(disk: Disk) -> None:
    disk.script.unlink()


def name_another_cache(disk: Disk) -> None:
    (disk.directory / IDENTITY).write_text(json.dumps({"format": 1, "cache_id": f"{ID}2"}))


def forget_the_cache(disk: Disk) -> None:
    (disk.directory / IDENTITY).unlink()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "damage",
    [
        flip,
        append_a_command,
        give_away,
        open_to_a_group,
        open_to_all,
        link,
        remove,
        name_another_cache,
        forget_the_cache,
    ],
)
def test_what_is_not_as_it_was_installed_is_not_run(disk: Disk, damage: Callable[[Disk], None], shell: str) -> None:
    damage(disk)
    said = sh(disk.line(), shell)
    assert (said.returncode, said.stdout) == (1, "")
    (sentence,) = said.stderr.splitlines()
    assert sentence.endswith(f"has the boot script of cache {ID} as it was installed: nothing was started")


def test_a_disk_that_is_mounted_elsewhere_is_found_by_what_lies_on_it(disk: Disk, tmp_path: Path) -> None:
    script = f'mkdir "$0/else where" && mount --bind "$0/my data" "$0/else where" && {disk.line("/nowhere/data")}'
    command = ["unshare", "--mount", "sh", "-c", script, str(tmp_path)]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    assert said.stdout.startswith(f"ran {tmp_path}/else where|"), said.stderr


def test_the_boot_script_is_a_script_that_ends_as_the_line_reads_it() -> None:
    text = boot_script(pinned("/mnt/it's data"))
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "place='/mnt/it'\"'\"'s data'\n" in text
    for shell in SHELLS:
        command = [shell, *(["sh"] if shell == "busybox" else []), "-n"]
        assert subprocess.run(command, input=text, text=True, check=False).returncode == 0

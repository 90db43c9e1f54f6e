"""A rented instance in directories of this machine: its system disk is an overlay over this system's, its data disk an
ext4 in an image. What is written to the system disk is thrown away by `reset`, and Python with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

PYTHONS = (
    "usr/lib/python3*",
    "usr/local/lib/python3*",
    "usr/bin/python3*",
    "usr/local/bin/python3*",
)
"""Where a Debian has its interpreters."""
POINT = "/mnt/data"
_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Instance:
    """One machine; a context manager that leaves no mount behind. Commands of it end with `run`, children too."""

    def __init__(self, directory: Path, image: Path | None = None) -> None:
        """Makes the disks.

        Args:
            directory: for everything but the data disk.
            image: a data disk that is there already; None: an empty one is made.
        """
        if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "unshare", "losetup"))):
            pytest.skip("needs root, mkfs.ext4, unshare and losetup")
        directory.mkdir(parents=True, exist_ok=True)
        self.root = directory / "root"
        self.image = image or directory / "data.img"
        self._layers = directory / "layers"
        self._loop = ""
        if image is None:
            with self.image.open("wb") as file:
                file.truncate(1024 * 2**20)
            options = ["-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0", "-U", str(uuid.uuid4())]
            subprocess.run(["mkfs.ext4", "-q", *options, str(self.image)], check=True)

    def __enter__(self) -> Instance:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self._switch_off()

    @property
    def uuid(self) -> str:
        """The data disk's."""
        command = ["blkid", "-p", "-s", "UUID", "-o", "value", str(self.image)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def boot(self) -> None:
        """A fresh system disk; the data disk is in it, and not mounted."""
        self.root.mkdir(exist_ok=True)
        self._layers.mkdir(exist_ok=True)
        _mount("-t", "tmpfs", "layers", str(self._layers))
        for name in ("up", "work"):
            (self._layers / name).mkdir()
        layers = f"lowerdir=/,upperdir={self._layers}/up,workdir={self._layers}/work"
        _mount("-t", "overlay", "-o", layers, "system", str(self.root))
        _mount("-t", "tmpfs", "dev", str(self.root / "dev"))
        for name in _NODES:
            (self.root / "dev" / name).touch()
            _mount("--bind", f"/dev/{name}", str(self.root / "dev" / name))
        attach = ["losetup", "--find", "--show", str(self.image)]
        self._loop = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
        status = os.stat(self._loop)
        os.mknod(self.root / self._loop[1:], 0o600 | 0o060000, status.st_rdev)
        links = self.root / "dev/disk/by-uuid"
        links.mkdir(parents=True)
        (links / self.uuid).symlink_to(self._loop)

    def reset(self, *, python: bool = False) -> None:
        """Throws the system disk away."""
        self._switch_off()
        self.boot()
        if not python:
            self.hide_python()

    def hide_python(self) -> None:
        """Leaves the system without any interpreter that a program could find."""
        for pattern in PYTHONS:
            for found in self.root.glob(pattern):
                if found.is_dir() and not found.is_symlink():
                    _mount("-t", "tmpfs", "hidden", str(found))
                else:
                    found.unlink()
        for directory in ("work", "root"):
            if (self.root / directory).is_dir():
                _mount("-t", "tmpfs", "hidden", str(self.root / directory))

    def mount_data(self, point: str = POINT) -> Path:
        """Mounts the data disk, as fstab would; returns where this machine sees it."""
        place = self.root / point[1:]
        place.mkdir(parents=True, exist_ok=True)
        _mount(self._loop, str(place))
        return place

    def unmount_data(self, point: str = POINT) -> None:
        """Leaves it in the machine, not mounted."""
        subprocess.run(["umount", str(self.root / point[1:])], check=True)
        (self.root / point[1:]).rmdir()

    def run(self, command: str, *, shell: str = "sh", path: str = _PATH) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell as root, in a mount and a process name space that end with it."""
        inside = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child"]
        inside += [f"--root={self.root}", "--mount-proc", "--wd=/", shell, "-c", command]
        environment = {"PATH": path, "HOME": "/root"}
        return subprocess.run(inside, check=False, capture_output=True, text=True, env=environment, timeout=150)

    def check(self, command: str) -> str:
        """Runs a line that must end with 0; returns what it said on standard output."""
        done = self.run(command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _switch_off(self) -> None:
        with open("/proc/self/mounts", encoding="utf-8") as table:
            points = [line.split(" ")[1].replace("\\040", " ") for line in table]
        for point in reversed(points):
            if point == str(self.root) or point.startswith((f"{self.root}/", str(self._layers))):
                subprocess.run(["umount", point], check=True)
        if self._loop:
            subprocess.run(["losetup", "--detach", self._loop], check=True)
            self._loop = ""


def _mount(*arguments: str) -> None:
    mounted = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounts are not possible here: {mounted.stderr}")

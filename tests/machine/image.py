"""The system disk that guests boot, made once: a Debian with this program as a wheel in /opt/zimage-syncd.

Two layers are kept in a directory of the user's, each named for a digest of what it is made of: the *base* (Debian, its
kernel, the program's dependencies) and the *system* (the base with the program of this working tree, as a disk).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.machine import debian

PROJECT = Path(__file__).parents[2]
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
}
"""Commands, and the Debian packages that have them."""
_PROGRAM = ("zimage_syncd", "systemd", "config", "pyproject.toml", "README.md", "LICENSE")
"""What the wheel is built from."""
_DISK_SIZE = "4G"
_KEPT_S = 7 * 86400
"""A layer that nobody used for so long is removed when another one is made."""


@dataclass(frozen=True)
class Image:
    """What a machine starts from; nobody writes to it."""

    disk: Path
    """An ext4 file system, raw."""
    kernel: Path
    initrd: Path


def lacking() -> str:
    """Why no image can be made or booted here, and what to do about it; empty where it can."""
    packages = [package for command, package in NEEDED.items() if shutil.which(command) is None]
    if packages:
        return f"apt-get install --no-install-recommends {' '.join(packages)}"
    return "" if os.geteuid() == 0 else "an image is made by root only (mmdebstrap, mke2fs -d)"


def directory_of_images() -> Path:
    """Where images are kept: $ZIMAGE_MACHINE_DIR, or a directory in ~/.cache."""
    named = os.environ.get("ZIMAGE_MACHINE_DIR")
    return Path(named) if named else Path.home() / ".cache/zimage-syncd-tests/machine"


def image(directory: Path, *, python: bool = True) -> Image:
    """The image of this working tree; made where it is not there (minutes the first time).

    Args:
        directory: of all images.
        python: without it the image has neither Python nor this program.

    Raises:
        subprocess.CalledProcessError: a step failed; what it said is on standard error.
    """
    directory.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] if python else []
    recipe = [repr((python, requirements)).encode(), *_contents([Path(debian.__file__), debian.ROOT])]
    program = _contents([PROJECT / name for name in _PROGRAM] if python else [])
    with FileLock(directory / "lock"):
        base = _layer(directory, "base", recipe, lambda made: debian.make_debian(made, requirements, python=python))
        parts = [base.name.encode(), *_contents([Path(__file__)]), *program]
        system = _layer(directory, "system", parts, lambda made: _make_system(made, base, python=python))
    return Image(system / "system.img", base / "vmlinuz", base / "initrd")


def _contents(places: Iterable[Path]) -> list[bytes]:
    """Names, modes and bytes of files, directories' below them."""
    files = [file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place])]
    return [
        b"%s %o %s" % (file.name.encode(), file.stat().st_mode, file.read_bytes())
        for file in files
        if file.is_file() and file.suffix != ".pyc"
    ]


def _layer(directory: Path, kind: str, parts: Iterable[bytes], make: Callable[[Path], None]) -> Path:
    """The directory of a layer with these parts; made where it is not there, whole or not at all."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    layer = directory / f"{kind}-{digest[:16]}"
    if not layer.is_dir():
        _remove_unused(directory)
        with tempfile.TemporaryDirectory(dir=directory, prefix="making-") as making:
            made = Path(making) / kind
            made.mkdir()
            make(made)
            made.rename(layer)
    os.utime(layer)
    return layer


def _remove_unused(directory: Path) -> None:
    for found in directory.glob("*-*"):
        if found.stat().st_mtime < time.time() - _KEPT_S:
            shutil.rmtree(found)


def _make_system(directory: Path, base: Path, *, python: bool) -> None:
    root = directory / "root"
    root.mkdir()
    subprocess.run(["tar", "--extract", "--file", str(base / "root.tar"), "--directory", str(root)], check=True)
    if python:
        _install(directory, root)
    # Empty, not "uninitialized": every start makes its own, without what systemd does at the first start of a machine.
    (root / "etc/machine-id").write_text("")
    disk = str(directory / "system.img")
    mke2fs = ["mke2fs", "-q", "-t", "ext4", "-L", "system", "-d", str(root), disk, _DISK_SIZE]
    subprocess.run(mke2fs, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)


def _install(directory: Path, root: Path) -> None:
    """Builds the wheel and installs it, as a person does who has no network."""
    build = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", str(directory), str(PROJECT)]
    subprocess.run(build, check=True, stdout=sys.stderr)
    wheel = next(directory.glob("*.whl"))
    shutil.move(wheel, root / wheel.name)
    pip = f"{debian.ENVIRONMENT}/bin/pip"
    subprocess.run(["chroot", str(root), pip, "install", "-qq", "--no-index", f"/{wheel.name}"], check=True)
    (root / wheel.name).unlink()
    (root / "usr/local/bin/zimage-syncd").symlink_to(f"{debian.ENVIRONMENT}/bin/zimage-syncd")

"""A file system in an image, mounted through a loop device, whose sectors can go bad."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE_S = 60

KINDS = ("ext4", "xfs", "btrfs")
"""File systems that order what they write in three ways."""


class LoopDisk:
    """Mounted after `mount`; skips the test where that is not possible."""

    def __init__(self, image: Path, directory: Path, kind: str, size_bytes: int) -> None:
        if os.geteuid() != 0 or not shutil.which(f"mkfs.{kind}"):
            pytest.skip(f"needs root and mkfs.{kind}")
        self._image = image
        self._directory = directory
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
        directory.mkdir(exist_ok=True)

    def mount(self) -> None:
        command = ["mount", "-o", "loop", str(self._image), str(self._directory)]
        mounted = subprocess.run(command, check=False, capture_output=True)
        if mounted.returncode:
            pytest.skip(f"loop mounts are not possible here: {mounted.stderr.decode()}")

    def unmount(self) -> None:
        """Ends the file system: a mount name space that another test has made may hold it for some seconds more."""
        subprocess.run(["umount", str(self._directory)], check=True)
        end_s = time.monotonic() + _PATIENCE_S
        while subprocess.run(["losetup", "--associated", str(self._image)], check=True, capture_output=True).stdout:
            assert time.monotonic() < end_s, "something holds the file system"
            time.sleep(0.05)

    def cut_power(self) -> None:
        """Leaves the file system as a power cut at this moment would: what had not reached the image is lost.

        A copy that equals the image when it is compared is what the image was in between, at one moment: the kernel
        may have written to it meanwhile.
        """
        left = self._image.with_suffix(".left")
        while True:
            subprocess.run(["cp", "--sparse=always", str(self._image), str(left)], check=True)
            if subprocess.run(["cmp", "--silent", str(self._image), str(left)], check=False).returncode == 0:
                break
        self.unmount()
        left.rename(self._image)
        self.mount()

    def flip_below(self, content: bytes) -> None:
        """Damages every sector that holds `content`, below the file system; unmounts and mounts it again.

        Every one: the blocks of a deleted file keep their content, and may lie before the living ones.
        """
        self.unmount()
        with open(self._image, "r+b") as file, mmap.mmap(file.fileno(), 0) as image:
            place = image.find(content)
            assert place >= 0
            while place >= 0:
                image[place] ^= 1
                place = image.find(content, place)
        self.mount()


@contextmanager
def mounted(directory: Path, kind: str) -> Iterator[LoopDisk]:
    """A file system of 384 MiB at a directory, with its image beside that."""
    disk = LoopDisk(directory.with_suffix(".img"), directory, kind, 384 * 2**20)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()

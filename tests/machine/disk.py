"""Data disks: ext4 file systems in raw images, made on the host without mounting them."""

from __future__ import annotations

import subprocess
from pathlib import Path

LABEL = "data"


def make_data_disk(image: Path, content: Path | None = None, *, size: str = "512M") -> Path:
    """Makes a disk with a file system labelled `data`; returns its image, which takes the space that is used.

    Args:
        image: the file to make.
        content: a directory whose content lies on it; None: it is empty.
        size: as mke2fs reads it.
    """
    copied = [] if content is None else ["-d", str(content)]
    # No uid of this machine's, and nothing that the kernel would go on initialising in the background.
    options = ["-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"]
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", LABEL, *options, *copied, str(image), size]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return image

"""Names that outlive a power cut: what renaming, linking or removing leaves in a directory.

Stores, disk and setup alike need it. What a file holds is made durable by whoever writes it.
"""

from __future__ import annotations

import os


def sync_directory(path: str) -> None:
    """Makes the names in a directory durable.

    Raises:
        OSError: it is no directory, or the disk cannot.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

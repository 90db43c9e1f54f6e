"""What an installation stands on: disks, cache and settings, as they were found."""

from __future__ import annotations

from dataclasses import dataclass

from zimage_syncd.setup.mounts import DiskAddress


@dataclass(frozen=True, slots=True)
class SystemFile:
    """A small file that is put onto a system disk."""

    path: str
    """Absolute, where it is put."""
    content: bytes
    """What it holds; may be secret."""
    mode: int = 0o644
    """Permission bits."""

    def __repr__(self) -> str:
        """Without the content."""
        return f"SystemFile({self.path!r}, {len(self.content)} bytes)"


@dataclass(frozen=True, slots=True)
class Ground:
    """What an installation stands on."""

    directory: str
    """Where versions lie, absolute and without links."""
    disk: DiskAddress
    """Of the disk that this directory is on."""
    data: DiskAddress | None
    """Of the data disk; None where the cache is on the system disk."""
    cache_id: str
    """Of the cache."""
    identity: str
    """A file that names it, on the same disk as the directory; absolute."""
    config: str
    """The configuration's file."""
    settings: tuple[SystemFile, ...]
    """What is put back where it is missing; the configuration among them."""

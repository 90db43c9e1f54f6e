"""Files packed for the way to another system disk: archives that any tar unpacks, without owners of this machine."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable
from typing import BinaryIO

from zimage_syncd.setup.copied_file import CopiedFile
from zimage_syncd.setup.ground import SystemFile


def pack_program(files: Iterable[CopiedFile], path: str) -> str:
    """Writes the files of a copy to a new archive, durably; returns its SHA-256, in hex.

    Times are kept in whole seconds: bytecode counts only with the time of its source.

    Args:
        files: of the copy.
        path: of the archive, which must not be there yet.

    Raises:
        OSError: a file cannot be read, or the archive cannot be written.
    """
    with open(path, "xb", opener=_for_root_alone) as raw:
        hashed = _Hashed(raw)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            for file in sorted(files, key=lambda each: each.name):
                with open(file.source, "rb") as source:
                    status = os.fstat(source.fileno())
                    member = _member(file.name, status.st_size, 0o755 if file.executable else 0o644)
                    member.mtime = int(status.st_mtime)
                    archive.addfile(member, source)
        raw.flush()
        os.fsync(raw.fileno())
    return hashed.digest.hexdigest()


def pack_settings(units: Iterable[SystemFile], settings: Iterable[SystemFile]) -> bytes:
    """An archive of small files: `units/…` are always put in place, `settings/…` where nothing is (boot.sh).

    The same files make the same bytes.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for tree, files in (("units", units), ("settings", settings)):
            directory = _member(tree, 0, 0o755)
            directory.type = tarfile.DIRTYPE
            archive.addfile(directory)
            for file in sorted(files, key=lambda each: each.path):
                member = _member(tree + file.path, len(file.content), file.mode)
                archive.addfile(member, io.BytesIO(file.content))
    return packed.getvalue()


def _member(name: str, size_bytes: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, mode
    return member


def _for_root_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class _Hashed(io.RawIOBase):
    """A file that is written from its beginning to its end, and hashed meanwhile."""

    def __init__(self, raw: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._raw = raw

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Writes all of it."""
        self.digest.update(data)
        self._raw.write(data)
        return len(data)

"""Identity and mark: the files by which data disk and system disk are known again.

The data disk's `identity.json` names the cache and the system disk that last used it; the system disk's `mark.json`
names itself and the cache. Clones and roll-backs of either show, since both count.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import uuid

from zimage_syncd.disk.document import read_document, write_document
from zimage_syncd.disk.errors import translated
from zimage_syncd.model.observation import Identity, SystemMark

IDENTITY_NAME = "identity.json"
MARK_NAME = "mark.json"
_FORMAT = 1
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def read_identity(state_directory: str) -> Identity | None:
    """The data disk's identity; None where there is none, or none that can be understood (see `identity_trouble`)."""
    document = read_document(os.path.join(state_directory, IDENTITY_NAME))
    if document is None or document.get("format") != _FORMAT:
        return None
    cache_id, mark, counter = document.get("cache_id"), document.get("system_mark"), document.get("counter")
    if not isinstance(cache_id, str) or not _ID.fullmatch(cache_id):
        return None
    good_mark = isinstance(mark, str) and (mark == "" or _ID.fullmatch(mark) is not None)
    return Identity(cache_id, str(mark) if good_mark else "", counter if isinstance(counter, int) else 0)


def identity_trouble(state_directory: str) -> str:
    """Why an identity that is there cannot be understood; empty where it can, or where there is none."""
    place = os.path.join(state_directory, IDENTITY_NAME)
    if read_identity(state_directory) is not None or not os.path.lexists(place):
        return ""
    document = read_document(place)
    if document is None:
        return f"{place} is no JSON document that can be read"
    if document.get("format") != _FORMAT:
        return f"{place} has format {str(document.get('format'))[:20]!r}, this version knows {_FORMAT}"
    return f"{place} names no cache"


def write_identity(state_directory: str, identity: Identity) -> None:
    """Writes it durably, whole or not at all.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    document = {
        "format": _FORMAT,
        "cache_id": identity.cache_id,
        "system_mark": identity.system_mark,
        "counter": identity.counter,
    }
    write_document(os.path.join(state_directory, IDENTITY_NAME), json.dumps(document, indent=2).encode() + b"\n")


def read_mark(state_dir: str) -> SystemMark | None:
    """The system disk's mark; None where there is none, or none that can be understood."""
    document = read_document(os.path.join(state_dir, MARK_NAME))
    if document is None or document.get("format") != _FORMAT:
        return None
    mark, cache_id, counter = document.get("mark"), document.get("cache_id"), document.get("counter")
    if not (isinstance(mark, str) and _ID.fullmatch(mark) and isinstance(cache_id, str) and isinstance(counter, int)):
        return None
    boot_id, file_system = document.get("boot_id"), document.get("file_system")
    return SystemMark(
        mark,
        cache_id,
        counter,
        boot_id if isinstance(boot_id, str) and _ID.fullmatch(boot_id) else "",
        file_system if isinstance(file_system, int) else 0,
    )


def write_mark(state_dir: str, mark: SystemMark) -> None:
    """Writes it durably, whole or not at all; makes its directory.

    Raises:
        PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
    """
    with translated(state_dir, writing=True):
        os.makedirs(state_dir, mode=0o755, exist_ok=True)
    document = {"format": _FORMAT, **dataclasses.asdict(mark)}
    write_document(os.path.join(state_dir, MARK_NAME), json.dumps(document, indent=2).encode() + b"\n")


def new_id() -> str:
    """A fresh identifier."""
    return str(uuid.uuid4())

"""References of pictures: `.zimage-syncd/references/<manifest id>/<name>.json` and `.png` on the data disk.

The PNG comes first, the document second: whoever finds a document finds its picture. What is kept is never replaced;
those of the snapshots that were looked at longest ago go when there are too many. A document that cannot be trusted is
no reference: it is put aside when there is one for its name, or room is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil

from zimage_syncd.disk.document import read_bytes, write_document
from zimage_syncd.model.checked_json import HealthDocumentInvalid
from zimage_syncd.model.picture import MAX_PICTURE_BYTES, MAX_REFERENCES, Reference
from zimage_syncd.model.picture_json import MAX_REFERENCE_BYTES, decode_reference, encode_reference, name_of

MAX_SNAPSHOTS = 64
"""So many have references at one time: at 16 pictures of a megabyte each, a gigabyte at most."""

_ID = re.compile(r"[0-9a-f]{64}")
_DOCUMENT = ".json"
_PICTURE = ".png"
_ASIDE = ".unreadable"


class DiskReferences:
    """A `ports.ReferenceShelf` in a directory. Whoever keeps a reference holds the cache's lock."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def load(self, manifest_id: str) -> tuple[Reference, ...]:
        """Those of one snapshot that can be trusted, the oldest first, with the places of their pictures."""
        place = self._place(manifest_id)
        names = self._names(place)
        found = [reference for name in names if (reference := _read(place, name, manifest_id)) is not None]
        return tuple(sorted(found, key=lambda reference: reference.made_at)[:MAX_REFERENCES])

    def picture(self, reference: Reference) -> bytes | None:
        """The PNG of a reference that `load` gave; None where it is not what was kept."""
        data = read_bytes(reference.picture, MAX_PICTURE_BYTES)
        if data is None or hashlib.sha256(data).hexdigest() != reference.picture_sha256:
            return None
        return data

    def keep(self, reference: Reference, picture: bytes) -> bool:
        """Keeps a reference and its PNG; False where one of the same conditions is kept, or too many are.

        Raises:
            PathUnwritable, DeviceFull, DataDiskReadOnly, DiskError: as their names say.
        """
        place, name = self._place(reference.manifest_id), name_of(reference.conditions)
        names = self._names(place)
        if name in names or len(names) >= MAX_REFERENCES:
            names = _put_aside(place, names, reference.manifest_id)
        if name in names or len(names) >= MAX_REFERENCES:
            return False
        write_document(os.path.join(place, name + _PICTURE), picture)
        write_document(os.path.join(place, name + _DOCUMENT), encode_reference(reference))
        self._sweep(reference.manifest_id)
        return True

    def _place(self, manifest_id: str) -> str:
        return os.path.join(self.directory, manifest_id)

    def _names(self, place: str) -> list[str]:
        try:
            found = os.listdir(place)
        except OSError:
            return []
        return sorted(name.removesuffix(_DOCUMENT) for name in found if name.endswith(_DOCUMENT) and name[0] != ".")

    def _sweep(self, kept: str) -> None:
        """Removes those of the snapshots for which the last one was kept longest ago."""
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            others = [entry for entry in entries if _ID.fullmatch(entry.name) and entry.name != kept]
            ages = sorted((entry.stat(follow_symlinks=False).st_mtime, entry.path) for entry in others)
            for _, place in ages[: max(len(ages) + 1 - MAX_SNAPSHOTS, 0)]:
                shutil.rmtree(place, ignore_errors=True)


def _put_aside(place: str, names: list[str], manifest_id: str) -> list[str]:
    """Renames documents that cannot be trusted; returns the names of the others."""
    good = [name for name in names if _read(place, name, manifest_id) is not None]
    for name in set(names) - set(good):
        document = os.path.join(place, name + _DOCUMENT)
        with contextlib.suppress(OSError):
            os.rename(document, document + _ASIDE)
    return good


def _read(place: str, name: str, manifest_id: str) -> Reference | None:
    """A document of this snapshot that lies under the name of its own conditions."""
    data = read_bytes(os.path.join(place, name + _DOCUMENT), MAX_REFERENCE_BYTES)
    try:
        found = None if data is None else decode_reference(data, os.path.join(place, name + _PICTURE))
    except HealthDocumentInvalid:
        return None
    if found is None or found.manifest_id != manifest_id or name_of(found.conditions) != name:
        return None
    return found

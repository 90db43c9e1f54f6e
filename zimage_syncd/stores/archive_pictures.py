"""The reference pictures of an archive, beside its manifests: a document each, and a PNG under its own digest.

The PNG comes first, and two writers never write one key with different bytes: whichever of two documents is there in
the end, its picture is. What a store says of them is checked like everything else.
"""

from __future__ import annotations

import hashlib
from itertools import islice

from zimage_syncd.model.checked_json import HealthDocumentInvalid
from zimage_syncd.model.failures import ObjectMissing, StoreBroken
from zimage_syncd.model.manifest import Manifest
from zimage_syncd.model.picture import MAX_PICTURE_BYTES, MAX_REFERENCES, Reference
from zimage_syncd.model.picture_json import MAX_REFERENCE_BYTES, decode_reference, encode_reference, name_of
from zimage_syncd.stores.archive_keys import ManifestKey, picture_document, picture_file, picture_name, pictures_prefix
from zimage_syncd.stores.object_store import ObjectStore


class Pictures:
    """Finds, reads and writes them.

    Args:
        store: where they lie.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def names(self, manifest: Manifest) -> list[str]:
        """The names of a snapshot's references, sorted; the first 16, whatever a store lists."""
        place = _place(manifest)
        found = (picture_name(place, info.key) for info in self._store.scan(pictures_prefix(place)))
        return list(islice((name for name in found if name is not None), MAX_REFERENCES))

    def load(self, manifest: Manifest, name: str) -> tuple[Reference, bytes]:
        """A reference and its PNG, validated.

        Raises:
            ObjectMissing: there is none, or no PNG.
            StoreBroken: it cannot be trusted.
        """
        reference = self._document(manifest, name)
        file = picture_file(_place(manifest), reference.picture_sha256)
        picture = self._store.get(file, MAX_PICTURE_BYTES)
        if hashlib.sha256(picture).hexdigest() != reference.picture_sha256:
            raise self._broken(file, "its content is another one than its name says")
        return reference, picture

    def understands(self, manifest: Manifest, name: str) -> bool:
        """Whether the document of a reference is there and can be trusted; its PNG is not read."""
        try:
            self._document(manifest, name)
        except (ObjectMissing, StoreBroken):
            return False
        return True

    def save(self, manifest: Manifest, reference: Reference, picture: bytes) -> bool:
        """Writes one, also over one that cannot be trusted; False where one of its name is there, or too many are."""
        place, name = _place(manifest), name_of(reference.conditions)
        names = self.names(manifest)
        taken = name in names
        if self.understands(manifest, name) if taken else len(names) >= MAX_REFERENCES:
            return False
        key, document = picture_document(place, name), encode_reference(reference)
        self._store.put(picture_file(place, reference.picture_sha256), picture)
        if not taken:
            return self._store.create(key, document)
        self._store.put(key, document)
        return True

    def _document(self, manifest: Manifest, name: str) -> Reference:
        key = picture_document(_place(manifest), name)
        try:
            reference = decode_reference(self._store.get(key, MAX_REFERENCE_BYTES))
        except HealthDocumentInvalid as error:
            raise self._broken(key, f"{error.subject} {error.detail}") from error
        if reference.manifest_id != manifest.id or name_of(reference.conditions) != name:
            raise self._broken(key, "it is of another snapshot, or of other conditions, than its name says")
        return reference

    def _broken(self, key: str, reason: str) -> StoreBroken:
        return StoreBroken(f"{self._store.describe()}/{key}", reason)


def _place(manifest: Manifest) -> ManifestKey:
    return ManifestKey(manifest.key.layout, manifest.key.repo, manifest.id)

"""What is sent is what was hashed, or nothing appears."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from tests.support.archives import archive_on
from tests.support.object_store import fixed_clock
from tests.support.site import Bench
from zimage_syncd.model.failures import FileChanging
from zimage_syncd.model.manifest import CHUNK_BYTES
from zimage_syncd.model.path import RelPath
from zimage_syncd.ports import PartBody, file_stat
from zimage_syncd.stores.memory import MemoryStore, MemoryUpload
from zimage_syncd.work.upload import Outgoing, upload_file


class ForgetfulUpload(MemoryUpload):
    """Reads its second part twice, as where a connection broke; between, the file changes. Checks nothing."""

    path = ""

    def put_part(self, number: int, body: PartBody) -> None:
        if number == 2:
            while body.read(2**20):
                pass
            with open(self.path, "r+b") as file:
                file.seek(CHUNK_BYTES + 5)
                file.write(b"changed")
        super().put_part(number, body)


class ForgetfulStore(MemoryStore):
    """A `MemoryStore` with such uploads."""

    path = ""

    def begin_upload(self, key: str, size_bytes: int) -> MemoryUpload:
        plain = super().begin_upload(key, size_bytes)
        upload = ForgetfulUpload(self, plain._upload, plain._parts)
        upload.path = self.path
        return upload


def test_a_part_that_is_sent_again_after_the_file_changed_never_appears(bench: Bench, content: random.Random) -> None:
    """The blob had the name of the content that was hashed first, and another content."""
    data = content.randbytes(2 * CHUNK_BYTES + 5)
    place = bench.root / "file"
    place.write_bytes(data)
    os.utime(place, ns=(0, 0))
    clock = fixed_clock()
    store = ForgetfulStore(clock.now)
    store.path = str(place)
    archive = archive_on(store, clock)
    archive.prepare()
    sha256 = hashlib.sha256(data).hexdigest()
    descriptor = os.open(place, os.O_RDONLY)
    try:
        outgoing = Outgoing(RelPath("file"), descriptor, file_stat(os.fstat(descriptor)), sha256)
        with pytest.raises(FileChanging):
            upload_file(bench.site(), archive, outgoing, lambda _count: None)
    finally:
        os.close(descriptor)
    assert archive.blob(sha256) is None
    assert store.open_uploads("") == []
    assert bench.ledger.pending_uploads("bucket") == []

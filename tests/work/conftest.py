"""What the tests of jobs share: an archive in a directory beside the cache."""

from __future__ import annotations

import pytest

from tests.support.site import Bench
from zimage_syncd.stores.archive import ObjectArchive
from zimage_syncd.stores.directory import DirectoryStore


@pytest.fixture
def archive(bench: Bench) -> ObjectArchive:
    """An empty archive in the directory `bucket`."""
    place = bench.directory / "bucket"
    place.mkdir()
    store = DirectoryStore(str(place), "owner-1")
    return ObjectArchive("bucket", store, bench.clock, "owner-1", bench.site().owns, "test-host")

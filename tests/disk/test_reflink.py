"""Whether a file system shares extents is found out without leaving a trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loop_disk import LoopDisk
from zimage_syncd.disk.partial import PartialFile
from zimage_syncd.disk.reflink import can_share
from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.path import RelPath

pytestmark = pytest.mark.root


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    disk = LoopDisk(tmp_path / "disk.img", tmp_path / "disk", "btrfs", 128 * 2**20)
    disk.mount()
    yield tmp_path / "disk"
    disk.unmount()


def test_a_trial_says_yes_within_btrfs_and_no_from_elsewhere_and_leaves_no_trace(btrfs: Path, tmp_path: Path) -> None:
    cache = btrfs / "cache"
    cache.mkdir()
    inside, outside = btrfs / "store", tmp_path / "store"
    for place in (inside, outside):
        place.write_bytes(os.urandom(50_000))
    before = cache.stat()
    assert can_share(Tree(str(cache)), str(inside))
    assert not can_share(Tree(str(cache)), str(outside))
    assert not can_share(Tree(str(cache)), str(tmp_path / "absent"))
    after = cache.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("grown_bytes", [-5000, 5000])
def test_a_file_that_begins_with_shared_extents_has_its_own_size(btrfs: Path, grown_bytes: int) -> None:
    """The store's file may have grown since it was looked at: all chunks count, and too much lies behind them."""
    source, path = btrfs / "source", RelPath("hub/x")
    source.write_bytes(os.urandom(50_000 + grown_bytes))
    with open(source, "rb") as like:
        partial = PartialFile(Tree(str(btrfs)), path, 50_000, like.fileno())
    partial.finish(0o644)
    assert (btrfs / path).stat().st_size == 50_000

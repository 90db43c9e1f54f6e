"""What a survey gathers comes out sorted, each path once, and as it was found, few or many."""

from __future__ import annotations

import hashlib
import random
from types import SimpleNamespace
from typing import cast

import pytest

from zimage_syncd.model import packed_local
from zimage_syncd.model.packed_local import FilesByPath, LinksInOrder, Status
from zimage_syncd.model.path import RelPath
from zimage_syncd.model.snapshot import DigestAlgorithm, ExpectedDigest, FileStat, LocalFile, LocalLink


@pytest.fixture(params=["few", "many"], autouse=True)
def packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    many = request.param == "many"
    monkeypatch.setattr(packed_local, "_FEW", 0 if many else 10**6)
    return many


def file(number: int) -> LocalFile:
    sha = hashlib.sha256(b"%d" % number).hexdigest()
    expected = [
        None,
        ExpectedDigest(DigestAlgorithm.SHA256, sha, "the blob's name"),
        ExpectedDigest(DigestAlgorithm.GIT_SHA1, sha[:40], f"trees/{number % 2}.json"),
    ][number % 3]
    stat = FileStat(2**40 + number, number, 10**18 + number, 10**18 - number, number % 512, 1 + number % 2)
    path = RelPath(f"blobs/{sha}" + ("\udcff" if number % 7 == 0 else ""))
    return LocalFile(
        path, number, number % 512, expected, None if number % 5 else "/store/x", stat if number % 5 else None
    )


def add(files: FilesByPath, item: LocalFile) -> None:
    """As a survey does, from a stat."""
    stat = item.stat or FileStat(1, item.size_bytes, 2, 3, item.mode)
    status = SimpleNamespace(
        st_mode=0o100000 | stat.mode,
        st_ino=stat.inode,
        st_nlink=stat.links,
        st_size=stat.size_bytes,
        st_mtime_ns=stat.mtime_ns,
        st_ctime_ns=stat.ctime_ns,
    )
    files.add(item.path, cast("Status", status), item.expected, item.linked_to)


def test_files_come_out_sorted_and_as_they_were(packed: bool) -> None:
    made = [file(number) for number in range(700)]
    random.Random(1).shuffle(made)
    files = FilesByPath()
    for item in made:
        add(files, item)
    assert [files.get(item.path) for item in made] == made
    assert files.get("blobs/other") is None

    found = files.take_all()

    assert isinstance(found, tuple) is not packed
    assert list(found) == sorted(made, key=lambda item: item.path)
    assert all(type(item.path) is RelPath for item in found)
    assert getattr(found, "size_bytes", sum(range(700))) == sum(range(700))
    assert len(files.take_all()) == 0


def test_links_come_out_sorted_and_each_once(packed: bool) -> None:
    links = LinksInOrder()
    for number in range(600):
        links.add(f"names/{number:05}", f"../blobs/{number}", in_order=True)
        links.add(f"blobs/{number % 300:03}", f"../shared/{number % 300}", in_order=False)
    links.add("names/00007", "../blobs/7", in_order=False)

    found = links.take_all()

    assert isinstance(found, tuple) is not packed
    assert len(found) == 900
    assert [link.path for link in found] == sorted({link.path for link in found})
    assert found[0] == LocalLink(RelPath("blobs/000"), "../shared/0")
    assert all(type(link.path) is RelPath for link in found)


def test_links_that_come_in_order_stay_so() -> None:
    links = LinksInOrder()
    for number in range(600):
        links.add(f"names/{number:05}", f"../blobs/{number}", in_order=True)
    assert [link.target for link in links.take_all()] == [f"../blobs/{number}" for number in range(600)]

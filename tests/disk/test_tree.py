"""Paths below a root: reached in one step where the kernel can, and never through a symlink."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_syncd.disk import tree as tree_module
from zimage_syncd.disk.tree import Tree
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.path import RelPath

DEEP = RelPath("a/b/c/d/file")


@pytest.fixture(params=["openat2", "root through a link", "part by part"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    if request.param == "part by part":
        monkeypatch.setattr(tree_module, "_open_without_links", lambda *_words: None)
    root = tmp_path / "root"
    root.joinpath(DEEP).parent.mkdir(parents=True)
    root.joinpath(DEEP).write_bytes(b"here")
    root.joinpath("a/b/link").symlink_to("c/d/file")
    if request.param == "root through a link":
        tmp_path.joinpath("link").symlink_to(root)
        return Tree(str(tmp_path / "link"))
    return Tree(str(root))


def test_what_lies_deep_below_is_found(tree: Tree) -> None:
    found = tree.lstat_and_target(DEEP)

    assert found is not None
    assert found[0].st_size == 4
    assert found[1] is None


def test_a_link_is_given_with_its_text(tree: Tree) -> None:
    found = tree.lstat_and_target(RelPath("a/b/link"))

    assert found is not None
    assert found[1] == "c/d/file"


@pytest.mark.parametrize("path", ["a/missing/file", "a/b/c/d/missing", "missing"])
def test_what_is_missing_is_none(tree: Tree, path: str) -> None:
    assert tree.lstat(RelPath(path)) is None


@pytest.mark.parametrize("where", ["a", "a/b", "a/b/c/d"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_directory_that_is_a_symlink_is_refused_wherever_it_leads(
    tree: Tree, tmp_path: Path, where: str, *, inside: bool
) -> None:
    place = Path(tree.root) / where
    elsewhere = (Path(tree.root) if inside else tmp_path) / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)

    with pytest.raises(UnsafePath):
        tree.lstat(DEEP)
    with pytest.raises(UnsafePath):
        tree.open_read(DEEP)


def test_a_directory_that_was_replaced_is_seen_anew(tree: Tree) -> None:
    assert tree.lstat(DEEP) is not None
    place = Path(tree.root) / "a/b"
    place.rename(place.with_name("moved"))

    assert tree.lstat(DEEP) is None
    with tree.parent(DEEP, create=True) as directory:
        assert os.path.samestat(os.fstat(directory), os.stat(f"{tree.root}/a/b/c/d"))


def test_no_descriptor_is_left_open(tree: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tree.lstat(DEEP)
    tree.lstat(RelPath("a/missing/file"))
    with pytest.raises(UnsafePath):
        tree.lstat(RelPath("a/b/link/file"))

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_deep_path_takes_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 100,000 files of a cache lies six directories deep."""
    tmp_path.joinpath(DEEP).parent.mkdir(parents=True)
    opened = tree_module._open_without_links(str(tmp_path.resolve()))
    if opened is None:
        pytest.skip("this kernel has no openat2")
    os.close(opened)
    opens: list[object] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *words, **options: (opens.append(words), real(*words, **options))[1])

    Tree(str(tmp_path.resolve())).lstat(DEEP)

    assert not opens  # openat2 is all

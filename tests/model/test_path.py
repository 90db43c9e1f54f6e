"""Relative paths: every name that a directory can hold, and nothing that leaves its root."""

from __future__ import annotations

import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_syncd.model import path as path_module
from zimage_syncd.model.failures import UnsafePath
from zimage_syncd.model.path import MAX_PART_BYTES, MAX_PATH_BYTES, RelPath, resolve_link

names = (
    st.binary(min_size=1, max_size=12)
    .filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in {b".", b".."})
    .map(os.fsdecode)
)
paths = st.lists(names, min_size=1, max_size=6).map("/".join).map(RelPath)


@given(paths)
def test_every_name_that_a_directory_gives_is_taken_as_it_is(path):
    assert RelPath(path) is path
    assert RelPath(str(path)) == path
    assert "/".join(path.parts) == path
    assert path.name == path.parts[-1]
    assert [str(parent) for parent in path.parents] == [
        "/".join(path.parts[:count]) for count in range(1, len(path.parts))
    ]
    assert all(path.is_below(parent) for parent in path.parents)
    assert not path.is_below(path)


@given(st.text() | st.lists(st.sampled_from(["..", ".", "", "a", "b"]), max_size=6).map("/".join))
def test_whatever_is_taken_stays_below_its_root(text):
    try:
        path = RelPath(text)
    except UnsafePath:
        return
    whole = posixpath.normpath(posixpath.join("/root", path))
    assert whole == f"/root/{path}"
    assert "\0" not in path
    assert len(os.fsencode(path)) <= MAX_PATH_BYTES


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/etc/passwd",
        "//host/share",
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "./a",
        "a/.",
        "a//b",
        "a/",
        "a\0b",
        "\0",
        "\ud800",
        "a\udfffb",
        "\udcc3\udca9",
        "x" * (MAX_PART_BYTES + 1),
        "ü" * (MAX_PART_BYTES // 2 + 1),
        "a/" * (MAX_PATH_BYTES // 2) + "b",
    ],
)
def test_what_could_escape_or_lie_nowhere_is_refused(text):
    with pytest.raises(UnsafePath):
        RelPath(text)


@pytest.mark.parametrize("text", ["a", "...", "a..b", "..a", " ", "a\nb", "\\", "C:", "~", "-rf", "\udcff", "x" * 255])
def test_odd_names_are_names(text):
    assert RelPath(text) == text


def test_below_is_by_whole_names():
    assert RelPath("a/b").is_below("a")
    assert not RelPath("ab").is_below("a")


@given(paths, st.integers(0, 7), paths)
def test_a_link_is_read_as_the_file_system_reads_it_or_refused(path, ups, rest):
    target = "../" * ups + rest
    try:
        found = resolve_link(path, target)
    except UnsafePath:
        assert ups > len(path.parts) - 1 or len(os.fsencode(path)) + len(os.fsencode(target)) > MAX_PATH_BYTES
        return
    assert found == posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/etc/passwd",
        "..",
        "../..",
        "../../../x",
        "b/../c",
        "../b/../c",
        "./b",
        "b/",
        "b//c",
        "b\0",
        "../.",
        "\ud800",
    ],
)
def test_links_that_leave_or_mean_something_else_later_are_refused(target):
    with pytest.raises(UnsafePath):
        resolve_link(RelPath("a/link"), target)


@pytest.mark.parametrize(
    ("path", "target", "found"),
    [
        ("hub/models--a--b/snapshots/c/x.json", "../../blobs/e", "hub/models--a--b/blobs/e"),
        ("hub/models--a--b/blobs/e", "../../blobs/ab/abc", "hub/blobs/ab/abc"),
        ("a/link", "../b", "b"),
        ("link", "b/c", "b/c"),
    ],
)
def test_the_links_of_real_caches_are_taken(path, target, found):
    assert resolve_link(RelPath(path), target) == found


@given(
    st.lists(st.sampled_from(["", ".", "..", "...", ".a", "a", "b.", "\0", "x" * 256, "ü", "\n"]), max_size=4).map(
        "/".join
    )
)
def test_the_short_way_for_plain_paths_decides_like_the_long_one(text: str) -> None:
    padded = f"{text}/ü" if text else "ü"  # not ASCII: takes the long way

    def refused(path: str) -> bool:
        try:
            RelPath(path)
        except UnsafePath:
            return True
        return False

    assert refused(text) == (refused(padded) or not text)


@given(
    st.lists(st.sampled_from(["a", "b", "c.d"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["..", "x", "y", ".", "", "\0"]), min_size=1, max_size=6),
    st.sampled_from(["", "/"]),
)
def test_links_are_resolved_alike_whether_their_directory_is_remembered_or_not(base, steps, start):
    path, target = RelPath("/".join(base)), start + "/".join(steps)
    try:
        expected = path_module._resolved(path, target)
    except UnsafePath:
        with pytest.raises(UnsafePath):
            resolve_link(path, target)
    else:
        assert resolve_link(path, target) == expected

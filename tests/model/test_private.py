"""Private names: the quick look passes over nothing that the close one would find."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_syncd.model import private
from zimage_syncd.model.private import is_left_over, private_part

_PARTS = [
    *("token", "stored_tokens", "xet", "credentials", ".locks", ".lock", "._____temp", ".zimage-syncd"),
    *(".zimage-syncd-1.partial", "x.incomplete", "x.tmp", "x.parallel_tmp", ".x.shared", "x.lock", "x.lock.soft"),
    *("x.refs", "refs", "blobs", "hub", "models--a--b", "snapshots", "main", "token.json", "x.tmp\n", "a"),
]


@given(st.lists(st.sampled_from(_PARTS), min_size=1, max_size=6).map("/".join))
def test_the_quick_look_misses_nothing(path: str) -> None:
    quick = private_part(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private, "_SUSPECT", re.compile(""))

        assert private_part(path) == quick


@pytest.mark.parametrize(
    ("path", "left_over"),
    [
        ("hub/models--a--b/blobs/x.incomplete", True),
        ("models--a--b/trees/tmp123.tmp", True),
        ("hub/.locks/models--a--b/x.lock", True),
        ("models/._____temp/a/b/x.safetensors", True),
        ("models/a/b/x.parallel_tmp", True),
        ("x/.zimage-syncd-1.partial", True),
        ("notes.tmp", False),
        ("loras.tmp/mine.safetensors", False),
        ("hub/models--a--b/old.incomplete/model.safetensors", False),
        ("hub/models--a--b/snapshots/main/notes.tmp", False),
        ("token", False),
        (".zimage-syncd/identity.json", False),
    ],
)
def test_what_is_thrown_away_is_of_use_to_nobody(path: str, left_over: bool) -> None:
    assert is_left_over(path) is left_over

"""Private names: the quick look passes over nothing that the close one would find."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_syncd.model import private
from zimage_syncd.model.private import private_part

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

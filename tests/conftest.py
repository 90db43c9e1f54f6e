"""Fixtures that every room of the tests uses."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.clock import HeldClock
from tests.support.site import Bench


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def bench(tmp_path: Path, clock: HeldClock) -> Bench:
    """A cache directory with everything that jobs need, and an archive in memory."""
    return Bench(tmp_path, clock)


@pytest.fixture
def content() -> random.Random:
    """The same random bytes in every run."""
    return random.Random(20261)

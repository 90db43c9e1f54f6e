"""Caches to look at, and a user who may not read everything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zimage_syncd.layouts.registry import ALL
from zimage_syncd.model.snapshot import Complete, Incomplete, LocalSnapshot

_NOBODY = 65534


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache directory; beside it is room for what is not of the cache."""
    directory = tmp_path / "cache"
    directory.mkdir()
    return directory


class Looker:
    """Looks at a cache with all layouts."""

    def __call__(self, root: Path, *linked_roots: Path) -> list[LocalSnapshot]:
        linked = tuple(str(place) for place in linked_roots)
        return [snapshot for layout in ALL for snapshot in layout.find(str(root), linked)]

    def one(self, root: Path, *linked_roots: Path) -> LocalSnapshot:
        """The only snapshot."""
        (snapshot,) = self(root, *linked_roots)
        return snapshot

    def reasons(self, root: Path, *linked_roots: Path) -> str:
        """Why the only snapshot is incomplete."""
        answer = self.one(root, *linked_roots).completeness
        assert isinstance(answer, Incomplete), answer
        return "\n".join(answer.reasons)

    def checked(self, root: Path, *linked_roots: Path) -> str:
        """What was compared in the only snapshot, which is complete."""
        answer = self.one(root, *linked_roots).completeness
        assert isinstance(answer, Complete), answer
        return "\n".join(answer.checked)


@pytest.fixture
def look() -> Looker:
    return Looker()


@pytest.fixture
def unprivileged() -> Iterator[Callable[[], Path]]:
    """Gives a directory, and from the second call on the rights of somebody who is not root."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        was = os.geteuid()
        calls = 0

        def step() -> Path:
            nonlocal calls
            calls += 1
            if calls > 1 and was == 0:
                os.seteuid(_NOBODY)
            return Path(directory)

        try:
            yield step
        finally:
            os.seteuid(was)
            for place, _, _ in os.walk(directory):
                os.chmod(place, 0o755)

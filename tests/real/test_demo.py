"""`zimage-syncd demo` as `make demo` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.machine import Machine

pytest.importorskip("diffusers")

NOBODY = "http://127.0.0.1:9"
"""A proxy that no connection reaches."""


@pytest.mark.probe
def test_the_demo_tells_its_whole_story_also_behind_a_proxy(machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "demo"
    proxies = {"http_proxy": NOBODY, "https_proxy": NOBODY, "all_proxy": NOBODY}
    said = machine.run("demo", "--dir", str(root), config=False, **proxies).stdout
    assert "healthy" in said
    assert list((root / "data-disk/model_cache/.zimage-syncd/pictures").glob("*.png"))
    again = machine.run("demo", "--dir", str(root), config=False, expected=3)
    assert "expects an empty directory" in again.stderr

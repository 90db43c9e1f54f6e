"""Cores: what this process is bound to, and what its control group and those above it allow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_syncd.cores import usable_cores


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def group(root: Path, path: str, cpu_max: str) -> None:
    place = root / path
    place.mkdir(parents=True, exist_ok=True)
    (place / "cpu.max").write_text(cpu_max)


def cores(root: Path, own: str) -> int:
    (root / "own").write_text(own)
    return usable_cores(str(root), str(root / "own"))


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000\n", 16),
        ("400000 100000\n", 4),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("9900000 100000", 16),
    ],
)
def test_a_quota_is_rounded_up(tmp_path: Path, cpu_max: str, expected: int) -> None:
    group(tmp_path, "system.slice/zimage-syncd.service", cpu_max)
    assert cores(tmp_path, "0::/system.slice/zimage-syncd.service\n") == expected


def test_the_tightest_of_all_groups_counts(tmp_path: Path) -> None:
    group(tmp_path, "a", "200000 100000\n")
    group(tmp_path, "a/b", "800000 100000\n")
    assert cores(tmp_path, "12:memory:/x\n0::/a/b\n") == 2


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    group(tmp_path, "", "300000 100000\n")
    assert cores(tmp_path, "0::/../../docker/1234\n") == 3


@pytest.mark.parametrize("cpu_max", ["", "max", "x y", "1 0", "1 2 3"])
def test_what_cannot_be_understood_limits_nothing(tmp_path: Path, cpu_max: str) -> None:
    group(tmp_path, "", cpu_max)
    assert cores(tmp_path, "0::/\n") == 16


def test_nothing_known_of_groups_limits_nothing(tmp_path: Path) -> None:
    assert usable_cores(str(tmp_path / "none"), str(tmp_path / "nor this")) == 16

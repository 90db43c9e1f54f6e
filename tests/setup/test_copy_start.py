"""What an installed copy does to its environment before the program begins."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zimage_syncd

COPY = Path(zimage_syncd.__file__).parent / "setup/copy"


@pytest.mark.parametrize(("before", "after"), [("", None), ("/theirs", "/theirs")])
def test_children_get_the_libraries_of_their_own_system(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str | None
) -> None:
    monkeypatch.setenv("ZIMAGE_SYNCD_LIBRARY_PATH", before)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/copy/lib")
    monkeypatch.setattr(sys, "executable", sys.executable)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("start", COPY / "start.py")
    assert spec is not None
    assert spec.loader is not None
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    start.begin("/copy")
    assert os.environ.get("LD_LIBRARY_PATH") == after
    assert "ZIMAGE_SYNCD_LIBRARY_PATH" not in os.environ
    assert sys.executable == "/copy/bin/python"
    assert sys.path[-1] == "/copy/packages"


def test_the_launcher_finds_its_copy_through_links_and_passes_arguments_on(tmp_path: Path) -> None:
    home = tmp_path / "a copy"
    (home / "bin").mkdir(parents=True)
    for name in ("zimage-syncd", "python"):
        (home / "bin" / name).write_bytes((COPY / name).read_bytes())
        (home / "bin" / name).chmod(0o755)
        (tmp_path / name).symlink_to(home / "bin" / name)
    (home / "bin/python3").write_text('#!/bin/sh\nprintf "%s|" "$LD_LIBRARY_PATH" "$ZIMAGE_SYNCD_LIBRARY_PATH" "$@"\n')
    (home / "bin/python3").chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": "/theirs"}
    for name, expected in (
        ("zimage-syncd", f"{home}/lib|/theirs|-I|-S|{home}/start.py|a b||"),
        ("python", f"{home}/lib||-S|a b||"),
    ):
        command = [str(tmp_path / name), "a b", ""]
        assert subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout == expected

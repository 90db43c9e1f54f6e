"""What is imported where: the parts that import-linter cannot see."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "zimage_syncd"

HEAVY = ("torch", "transformers", "diffusers", "modelscope")
EFFECTS = frozenset(
    {"os", "pathlib", "socket", "subprocess", "shutil", "tempfile", "time", "threading", "sqlite3", "urllib", "http"}
)
CLOCKS = frozenset({"now", "today", "utcnow"})


def pure_modules() -> list[Path]:
    return sorted(path for room in ("model", "decide") for path in (PACKAGE / room).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """The first part of every imported module's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def clock_readings(tree: ast.AST) -> Iterator[int]:
    """Lines that ask `datetime` or `date` for the time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if owner in {"datetime", "date"}:
                yield node.lineno


def parsed(path: Path) -> ast.Module:
    """A module's syntax tree.

    Without garbage collection meanwhile: what is collected may be the task of a cut SSH connection, whose error
    asyncio then formats, which parses code inside the parser; CPython 3.11 fails at that with a SystemError.
    """
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter, which knows nothing of what the tests imported."""
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("path", pure_modules(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_model_and_decide_touch_neither_files_nor_network_nor_clock(path: Path) -> None:
    tree = parsed(path)
    assert EFFECTS.isdisjoint(imported(tree))
    assert list(clock_readings(tree)) == []


def test_the_search_for_effects_finds_them() -> None:
    tree = ast.parse("import os.path\nfrom subprocess import run\nimport datetime as d\ndatetime.datetime.now()")
    assert EFFECTS.intersection(imported(tree)) == {"os", "subprocess"}
    assert list(clock_readings(tree)) == [4]


def test_only_clocks_and_adapters_read_the_clock() -> None:
    """A test can hold the clock only where it is passed in."""
    rooms = ("model", "decide", "work", "daemon", "layouts")
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in rooms
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for line in clock_readings(parsed(path))
    ]
    assert found == []


def test_the_daemon_s_process_never_imports_what_imports_torch() -> None:
    """Every module but the probe's own is imported, in an interpreter of its own."""
    completed = run_python(
        f"""
import importlib, pkgutil, sys, zimage_syncd
names = [module.name for module in pkgutil.walk_packages(zimage_syncd.__path__, "zimage_syncd.")]
wanted = [name for name in names if not name.startswith("zimage_syncd.probe")]
for name in wanted:
    importlib.import_module(name)
print("heavy", sorted(set({HEAVY!r}).intersection(sys.modules)))
print("count", len(wanted))
"""
    )
    assert completed.returncode == 0, completed.stderr
    assert "heavy []" in completed.stdout
    assert int(completed.stdout.split("count")[1]) > 40


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]], ids=" ".join)
def test_the_command_line_starts_without_what_imports_torch(arguments: list[str]) -> None:
    completed = run_python(
        f"""
import sys
from zimage_syncd.__main__ import main
sys.argv = ["zimage-syncd", *{arguments!r}]
code = 0
try:
    code = main()
except SystemExit as end:
    code = end.code
print("heavy", sorted(set({HEAVY!r}).intersection(sys.modules)), "boto3" in sys.modules)
sys.exit(code)
"""
    )
    assert completed.returncode == 0, completed.stderr
    assert "Usage:" in completed.stdout
    assert "heavy [] False" in completed.stdout, "boto3 takes 40 MB and a quarter of a second to import"

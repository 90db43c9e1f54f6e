"""The project as a whole: its documents, its packaging, its sizes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import zimage_syncd
from zimage_syncd.config import load_config

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
BUILD_FILES = ("Makefile", "pyproject.toml", ".ci/run", ".ci/make_venv.py")
INDEX = re.compile(
    r"--(?:extra-)?index-url|--find-links|--trusted-host|pypi\.org|pythonhosted\.org|https?://\S*simple\b"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CONFLICT = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)
PRIVATE_KEY = re.compile("-----BEGIN [A-Z ]*PRIVATE" + " KEY-----")


def sources() -> Iterator[Path]:
    """Every text file of the project that a person wrote."""
    rooms = ("zimage_syncd", "tests", "docs", "systemd", "config", "benchmarks", ".ci")
    names = ("*.py", "*.md", "*.toml", "*.service", "*.timer", "*.conf", "run")
    for room in rooms:
        for name in names:
            yield from sorted((ROOT / room).rglob(name))
    yield from (ROOT / name for name in ("Makefile", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"))


def modules() -> list[Path]:
    return sorted((ROOT / "zimage_syncd").rglob("*.py"))


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(document: Path) -> set[str]:
    """The names that a page's headings get on code hosting sites."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_changelog_begins_with_this_version_or_with_what_is_not_released_yet() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[?([^\]\s]+)", text, flags=re.MULTILINE)
    assert first is not None
    assert first[1] in {zimage_syncd.__version__, "Unreleased"}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_project_leads_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_the_index_of_decisions_names_each_one() -> None:
    directory = ROOT / "docs" / "adr"
    decisions = {path.name for path in directory.glob("[0-9]*.md")}
    index = (directory / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\d{4}-[^)]+)\)", index)) == decisions
    numbers = sorted(int(name[:4]) for name in decisions)
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("module", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_400_lines(module: Path) -> None:
    lines = module.read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES


@pytest.mark.parametrize("name", BUILD_FILES)
def test_nothing_that_builds_the_project_names_a_package_index(name: str) -> None:
    """Where packages come from is for the environment to say: PIP_INDEX_URL, pip.conf."""
    assert INDEX.search((ROOT / name).read_text(encoding="utf-8")) is None


def test_no_file_holds_a_private_key_or_an_unfinished_merge() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in sources()
        if PRIVATE_KEY.search(text := path.read_text(encoding="utf-8")) or CONFLICT.search(text)
    ]
    assert found == []


def test_the_licence_is_the_whole_apache_licence_as_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert project["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text


def test_the_base_install_does_not_need_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in project["dependencies"]}
    assert names.isdisjoint({"torch", "diffusers", "transformers", "accelerate", "modelscope"})
    assert any(requirement.startswith("torch") for requirement in project["optional-dependencies"]["probe"])


def test_make_without_a_target_tells_every_target() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    told = subprocess.run([make, "-s"], check=True, cwd=ROOT, capture_output=True, text=True).stdout
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {"setup", "demo", "test"} <= set(targets)
    assert [line.split()[1] for line in told.splitlines()] == targets


def test_what_continuous_integration_runs_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_wheel_brings_along_what_the_readme_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    brought = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for source, place in brought.items():
        assert (ROOT / source).is_file()
        assert place.startswith("share/")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert '../share/zimage-syncd"' in readme
    assert '"$share"/*.service "$share"/*.timer' in readme
    for unit in (ROOT / "systemd").iterdir():
        assert brought[f"systemd/{unit.name}"] == f"share/zimage-syncd/{unit.name}"


def test_the_container_of_the_example_is_built_from_what_is_there_and_may_no_more_than_the_unit() -> None:
    compose = yaml.safe_load((ROOT / "config/compose.yaml").read_text(encoding="utf-8"))
    daemon = compose["services"]["zimage-syncd"]
    assert (ROOT / "config" / daemon["build"]["context"] / daemon["build"]["dockerfile"]).is_file()
    assert daemon["cap_drop"] == ["ALL"]
    unit = (ROOT / "systemd/zimage-syncd.service").read_text(encoding="utf-8")
    allowed = re.findall(
        r"CAP_(\w+)", next(line for line in unit.splitlines() if line.startswith("CapabilityBounding"))
    )
    assert set(daemon["cap_add"]) <= set(allowed)


@pytest.mark.parametrize("example", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.name)
def test_an_example_of_a_configuration_can_be_used(example: Path, tmp_path: Path) -> None:
    copy = tmp_path / "zimage-syncd.toml"  # a checkout may be writable by a group, which a configuration must not be
    copy.write_bytes(example.read_bytes())
    copy.chmod(0o600)
    assert load_config(str(copy), {}, str(tmp_path), str(tmp_path)).cache.dir

"""The documents say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from zimage_syncd.cli.app import app
from zimage_syncd.config import load_config
from zimage_syncd.config.schema import SECTIONS, Store
from zimage_syncd.report.detection_page import detection_page
from zimage_syncd.report.problems_page import problems_page

ROOT = Path(__file__).parents[1]
COMMON = {"--config", "--json", "--verbose", "-v", "--help"}


def test_the_page_of_problems_is_the_catalogue() -> None:
    assert (ROOT / "docs/problems.md").read_text() == problems_page()


def test_the_page_of_detection_is_what_the_daemon_decides() -> None:
    assert (ROOT / "docs/detection.md").read_text() == detection_page()


@pytest.mark.parametrize("name", sorted(app.commands))
def test_every_option_of_every_command_is_described(name: str) -> None:
    text = (ROOT / "docs/commands.md").read_text()
    section = next(part for part in text.split("\n## ") if re.match(rf"{name}\b", part))
    for parameter in app.commands[name].params:
        if isinstance(parameter, click.Option):
            long = max(parameter.opts, key=len)
            assert long in COMMON or long in section, f"{name} {long}"


def test_no_command_is_described_that_does_not_exist() -> None:
    text = (ROOT / "docs/commands.md").read_text()
    described = {part.split()[0] for part in text.split("\n## ")[1:]}
    assert described == set(app.commands)


@pytest.mark.parametrize("section", [*SECTIONS, "stores"])
def test_every_key_is_described_and_in_the_example(section: str) -> None:
    keys = (Store if section == "stores" else SECTIONS[section]).__struct_fields__
    text = (ROOT / "docs/configuration.md").read_text()
    for key in keys:
        assert re.search(rf"[`.]{key}`", text), f"{section}.{key}"


def test_the_example_loads(tmp_path: Path) -> None:
    place = tmp_path / "config.toml"
    place.write_text((ROOT / "config/zimage-syncd.toml").read_text())
    place.chmod(0o600)
    config = load_config(str(place), {}, "/", "/root")
    assert config.restore.order == ["shared", "bucket"]

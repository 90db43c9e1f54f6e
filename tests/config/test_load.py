"""Where a configuration is looked for, who may have written it, and what is filled in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_syncd.config import Config, load_config
from zimage_syncd.model.failures import ConfigInvalid, ConfigMissing, ConfigUntrusted

Load = Callable[..., Config]


def write(place: Path, directory: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f'[cache]\ndir = "{directory}"\n')
    place.chmod(0o600)
    return place


def test_the_nearest_configuration_wins(tmp_path: Path) -> None:
    """--config, then the variable, then the working directory, then the home directory."""
    cwd, home = str(tmp_path / "cwd"), str(tmp_path / "home")
    write(tmp_path / "home/.config/zimage-syncd/config.toml", "/from/home")
    assert load_config(None, {}, cwd, home).cache.dir == "/from/home"
    write(tmp_path / "cwd/zimage-syncd.toml", "/from/cwd")
    assert load_config(None, {}, cwd, home).cache.dir == "/from/cwd"
    variable = {"ZIMAGE_SYNCD_CONFIG": str(write(tmp_path / "a.toml", "/from/variable"))}
    assert load_config(None, variable, cwd, home).cache.dir == "/from/variable"
    option = str(write(tmp_path / "b.toml", "/from/option"))
    config = load_config(option, variable, cwd, home)
    assert (config.cache.dir, config.source) == ("/from/option", option)


def test_a_named_file_that_is_missing_is_not_replaced_by_another(tmp_path: Path) -> None:
    write(tmp_path / "zimage-syncd.toml", "/from/cwd")
    with pytest.raises(ConfigMissing, match="nowhere"):
        load_config("nowhere.toml", {}, str(tmp_path), str(tmp_path))


def test_without_any_the_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigMissing) as caught:
        load_config(None, {}, str(tmp_path), str(tmp_path / "home"))
    assert str(tmp_path / "zimage-syncd.toml") in caught.value.detail
    assert str(tmp_path / "home/.config/zimage-syncd/config.toml") in caught.value.detail


def test_the_environment_alone_is_enough(tmp_path: Path) -> None:
    config = load_config(None, {"ZIMAGE_SYNCD__CACHE__DIR": "/mnt/x"}, str(tmp_path), str(tmp_path))
    assert (config.cache.dir, config.source) == ("/mnt/x", "the environment")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    place = write(tmp_path / "z.toml", "/mnt/x")
    place.chmod(mode)
    with pytest.raises(ConfigUntrusted, match=f"{mode:04o}"):
        load_config(str(place), {}, "/", "/")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    place = write(tmp_path / "z.toml", "/mnt/x")
    os.chown(place, 4711, -1)
    with pytest.raises(ConfigUntrusted, match="4711"):
        load_config(str(place), {}, "/", "/")


def test_a_directory_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for place in (tmp_path, pipe):
        with pytest.raises(ConfigInvalid, match=str(place)):
            load_config(str(place), {}, "/", "/")


@pytest.mark.parametrize("content", [b"[cache\n", b"\xff\xfe", b"cache = 3\n", b""])
def test_what_is_no_configuration_is_refused_with_the_file_s_name(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "z.toml"
    place.write_bytes(content)
    place.chmod(0o600)
    with pytest.raises(ConfigInvalid, match=r"z\.toml"):
        load_config(str(place), {}, "/", "/")


def test_order_and_targets_are_by_default_the_stores_as_they_appear(load: Load) -> None:
    config = load('[stores.b]\nurl = "s3://b"\n[stores.a]\nurl = "/shared"\n[stores.c]\nurl = "file:///c"\n')
    assert config.restore.order == ["b", "a", "c"]
    assert config.backup.to == ["b", "c"]


def test_an_empty_list_is_a_wish_and_no_gap(load: Load) -> None:
    config = load('[stores.b]\nurl = "s3://b"\n[restore]\norder = []\n[backup]\nto = []\n')
    assert (config.restore.order, config.backup.to) == ([], [])


def test_slashes_at_the_end_of_paths_mean_nothing(load: Load) -> None:
    cache = '[cache]\ndir = "/mnt/data/cache/"\nmount = "/mnt/data/"\nlinks = ["/root/cache/"]\n'
    text = f'{cache}[stores.s]\nurl = "/shared/"\n'
    config = load(text, whole=True)
    assert (config.cache.dir, config.cache.mount, config.cache.links) == (
        "/mnt/data/cache",
        "/mnt/data",
        ["/root/cache"],
    )
    assert config.stores["s"].path == "/shared"

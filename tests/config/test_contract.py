"""The documented configuration, with every key and its comment, loads as it stands; so does the shipped example."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_syncd.config import Config, StoreKind
from zimage_syncd.config.schema import SECTIONS, Store, Verify
from zimage_syncd.decide.due import Schedule

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "config/zimage-syncd.toml"

Load = Callable[..., Config]


def test_the_documented_configuration_loads(load: Load) -> None:
    config = load((HERE / "contract.toml").read_text(), whole=True)
    assert config.cache.dir == "/mnt/data/model_cache"
    assert {name: store.kind for name, store in config.stores.items()} == {
        "shared": StoreKind.CACHE_TREE,
        "bucket": StoreKind.S3,
    }
    assert config.restore.order == ["shared", "bucket", "modelscope", "huggingface"]
    assert config.backup.to == ["bucket"]


@pytest.mark.parametrize("name", ["restore", "backup", "verify", "health", "retention", "daemon", "notify"])
def test_the_documented_values_are_the_defaults(load: Load, name: str) -> None:
    written = getattr(load((HERE / "contract.toml").read_text(), whole=True), name)
    default = SECTIONS[name]()
    named = {"order", "to"}  # these name stores, which a default cannot know
    for key in default.__struct_fields__:
        if key not in named:
            assert getattr(written, key) == getattr(default, key), key


def test_a_store_s_documented_values_are_the_defaults(load: Load) -> None:
    written = load((HERE / "contract.toml").read_text(), whole=True).stores["shared"]
    default = Store(url="/x")
    for key in ("group", "file_mode", "dir_mode", "lease_expiry_s", "when_gone"):
        assert getattr(written, key) == getattr(default, key), key


def test_the_example_has_every_key(load: Load) -> None:
    document = tomllib.loads(EXAMPLE.read_text())
    for name, section in SECTIONS.items():
        assert set(document[name]) == set(section.__struct_fields__), name
    assert {key for store in document["stores"].values() for key in store} == set(Store.__struct_fields__)
    assert load(EXAMPLE.read_text(), whole=True).cache.repos == ["Tongyi-MAI/Z-Image-Turbo"]


@pytest.mark.parametrize("key", ["quick", "deep", "drill"])
def test_the_default_schedules_are_right(key: str) -> None:
    Schedule(getattr(Verify(), key))

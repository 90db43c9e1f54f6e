"""Settings that contradict each other or cannot be meant; each refusal names the key, what was expected and found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from zimage_syncd.config.places import inside, objection, overlap
from zimage_syncd.config.presence import check_presence
from zimage_syncd.config.ranges import check_ranges
from zimage_syncd.config.schema import HUBS, Config, StoreKind
from zimage_syncd.config.store_rules import check_apart, check_store
from zimage_syncd.config.unknown import unknown
from zimage_syncd.model.failures import ConfigContradictory, ConfigInvalid, Failure
from zimage_syncd.model.snapshot import RepoId


def check(config: Config) -> None:
    """Refuses what cannot be meant.

    Args:
        config: all values, defaults included; every one is of its key's type, and no path ends with a slash.

    Raises:
        ConfigInvalid: a value is out of range.
        ConfigContradictory: two settings contradict each other.
        StoreUrlInvalid: a store's address cannot be used here.
    """
    _check_cache(config)
    _check_links(config)
    for name, store in config.stores.items():
        check_store(config.cache, name, store)
    check_apart(config.stores)
    _check_order(config)
    _check_backup(config)
    check_ranges(config)
    _check_state_dir(config)
    _check_python(config)
    check_presence(config)


def _check_cache(config: Config) -> None:
    cache = config.cache
    for key, paths in (("cache.dir", [cache.dir]), ("cache.mount", [cache.mount]), ("cache.links", cache.links)):
        for path in paths:
            if (path or key == "cache.links") and (wrong := objection(path)):
                raise ConfigInvalid(key, wrong)
    if cache.dir == "/":
        raise ConfigInvalid("cache.dir", "expected a directory of its own, found '/'")
    if cache.mount and not inside(cache.dir, cache.mount):
        raise ConfigContradictory("cache.dir", f"{cache.dir} is not below cache.mount = {cache.mount}")
    for repo in cache.repos:
        try:
            RepoId.parse(repo)
        except Failure as failure:
            raise ConfigInvalid("cache.repos", f"{failure.detail}, found {repo!r}") from failure


def _check_links(config: Config) -> None:
    cache = config.cache
    for link in cache.links:
        if overlap(link, cache.dir):
            raise ConfigContradictory("cache.links", f"{link} and cache.dir = {cache.dir} lie in each other")
        if inside(config.daemon.state_dir, link):
            raise ConfigContradictory("daemon.state_dir", f"it lies behind {link} of cache.links, on the data disk")
    for one, other in itertools.combinations(cache.links, 2):
        if overlap(one, other):
            raise ConfigContradictory("cache.links", f"{one} and {other} lie in each other")


def _check_order(config: Config) -> None:
    _require_once("restore.order", config.restore.order)
    for name in config.restore.order:
        if name not in config.stores and name not in HUBS:
            raise ConfigContradictory("restore.order", unknown("store", name, [*config.stores, *HUBS]))


def _check_backup(config: Config) -> None:
    _require_once("backup.to", config.backup.to)
    for name in config.backup.to:
        if name not in config.stores:
            raise ConfigContradictory("backup.to", unknown("store", name, config.stores))
        if config.stores[name].kind is StoreKind.CACHE_TREE:
            detail = f"{name} is a cache tree; backups go to archives, and cache trees are seeded (stores.{name}.seed)"
            raise ConfigContradictory("backup.to", detail)


def _check_state_dir(config: Config) -> None:
    for key, place in (("cache.dir", config.cache.dir), ("cache.mount", config.cache.mount)):
        if place and inside(config.daemon.state_dir, place):
            detail = f"it lies in {key} = {place}; it belongs on the system disk, whose reset its absence shows"
            raise ConfigContradictory("daemon.state_dir", detail)


def _check_python(config: Config) -> None:
    python = config.health.python
    if python and (wrong := objection(python)):
        raise ConfigInvalid("health.python", wrong)


def _require_once(key: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigInvalid(key, f"{name} is named {names.count(name)} times; once is enough")

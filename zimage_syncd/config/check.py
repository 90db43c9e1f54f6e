"""Values out of range and settings that contradict each other; each refusal names the key."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from zimage_syncd.config.schema import HUBS, Config, Store, StoreKind, hide_secrets
from zimage_syncd.config.units import duration_s, rate_bytes_per_s, size_bytes
from zimage_syncd.config.unknown import unknown
from zimage_syncd.decide.due import Schedule
from zimage_syncd.model.failures import ConfigContradictory, ConfigInvalid, Failure, StoreUrlInvalid
from zimage_syncd.model.snapshot import RepoId

_STORE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_MODE = re.compile(r"[0-7]{3,4}")
_ONLY_FOR_TREES = ("mode", "seed", "group", "file_mode", "dir_mode", "lease_expiry_s", "when_gone")
_ONLY_FOR_S3 = ("endpoint_url", "region", "addressing_style", "profile", "credentials_file", "ca_bundle")


def check(config: Config, document: Mapping[str, Any]) -> None:
    """Refuses what cannot be meant.

    Args:
        config: all values, defaults included.
        document: what was really written, to tell a default from a wish.

    Raises:
        ConfigInvalid: a value is out of range.
        ConfigContradictory: two settings contradict each other.
        StoreUrlInvalid: a store's address cannot be used.
    """
    _check_cache(config)
    for name, store in config.stores.items():
        _check_store(config, name, store, document.get("stores", {}).get(name, {}))
    _check_names(config)
    _check_numbers(config)


def _check_cache(config: Config) -> None:
    cache = config.cache
    for key, paths in (("cache.dir", [cache.dir]), ("cache.mount", [cache.mount]), ("cache.links", cache.links)):
        for path in paths:
            if path and not (path.startswith("/") and os.path.normpath(path) == path.rstrip("/")):
                raise ConfigInvalid(key, f"expected an absolute path without `..`, found {path!r}")
    if cache.mount and not _inside(cache.dir, cache.mount):
        raise ConfigContradictory("cache.dir", f"{cache.dir} is not below cache.mount = {cache.mount}")
    for link in cache.links:
        if _inside(cache.dir, link) or _inside(link, cache.dir):
            raise ConfigContradictory("cache.links", f"{link} and cache.dir = {cache.dir} lie in each other")
    for repo in cache.repos:
        try:
            RepoId.parse(repo)
        except Failure as failure:
            raise ConfigInvalid("cache.repos", f"{repo!r}: {failure.detail}") from failure


def _inside(path: str, directory: str) -> bool:
    path, directory = path.rstrip("/"), directory.rstrip("/")
    return path == directory or path.startswith(f"{directory}/")


def _check_store(config: Config, name: str, store: Store, written: Mapping[str, Any]) -> None:
    key = f"stores.{name}"
    if not _STORE_NAME.fullmatch(name):
        raise ConfigInvalid(key, "a store's name is of a-z, 0-9, - and _")
    if name in HUBS:
        raise ConfigInvalid(key, f"{name} is the hub's own name; choose another one")
    _check_url(key, store)
    foreign: tuple[str, ...] = _ONLY_FOR_S3 if store.kind is not StoreKind.S3 else ()
    if store.kind is not StoreKind.CACHE_TREE:
        allowed = ("mode",) if store.kind is StoreKind.DIRECTORY else ()
        foreign += tuple(item for item in _ONLY_FOR_TREES if item not in allowed)
    if store.kind is not StoreKind.FSSPEC:
        foreign += ("options",)
    for item in foreign:
        if item in written:
            raise ConfigContradictory(f"{key}.{item}", f"it means nothing for a store of kind {store.kind}")
    if store.profile and store.credentials_file:
        raise ConfigContradictory(f"{key}.profile", f"{key}.credentials_file is set, too; keep one of them")
    for item in ("file_mode", "dir_mode"):
        if not _MODE.fullmatch(getattr(store, item)):
            raise ConfigInvalid(f"{key}.{item}", f"expected an octal mode such as 0444, found {getattr(store, item)!r}")
    place = store.path
    if place and (_inside(place, config.cache.dir) or _inside(config.cache.dir, place)):
        raise ConfigContradictory(f"{key}.url", f"{place} and cache.dir = {config.cache.dir} lie in each other")


def _check_url(key: str, store: Store) -> None:
    shown = hide_secrets(store.url)
    if store.kind is StoreKind.CACHE_TREE:
        if os.path.normpath(store.url) != store.path:
            raise StoreUrlInvalid(f"{key}.url", f"{shown}: expected an absolute path without `..`")
        return
    parts = urlsplit(store.url)
    if not parts.scheme:
        raise StoreUrlInvalid(f"{key}.url", f"{shown!r} is neither an absolute path nor a URL")
    strange = parts.netloc not in {"", "localhost"} or os.path.normpath(store.path or "/") != store.path
    if store.kind is StoreKind.DIRECTORY and strange:
        raise StoreUrlInvalid(f"{key}.url", f"{shown}: expected file:///ABSOLUTE/PATH")
    if store.kind is StoreKind.S3 and not parts.netloc:
        raise StoreUrlInvalid(f"{key}.url", f"{shown}: expected s3://BUCKET/PREFIX")
    if store.kind is StoreKind.S3 and "@" in parts.netloc:
        raise StoreUrlInvalid(f"{key}.url", f"{shown}: credentials belong into a profile or credentials_file")


def _check_names(config: Config) -> None:
    for name in config.restore.order:
        if name not in config.stores and name not in HUBS:
            raise ConfigContradictory("restore.order", unknown("store", name, [*config.stores, *HUBS]))
    for name in config.backup.to:
        if name not in config.stores:
            raise ConfigContradictory("backup.to", unknown("store", name, config.stores))
        if config.stores[name].kind is StoreKind.CACHE_TREE:
            detail = f"{name} is a cache tree; backups go to archives, and cache trees are seeded (stores.{name}.seed)"
            raise ConfigContradictory("backup.to", detail)


def _check_numbers(config: Config) -> None:
    health, verify = config.health, config.verify
    _require(health.size_px % 16 == 0 and 64 <= health.size_px <= 2048, "health.size_px", "64 to 2048, by 16")
    _require(1 <= health.steps <= 50, "health.steps", "1 to 50")
    _require(health.timeout_s > 0, "health.timeout_s", "more than 0 seconds")
    _require(0 < verify.deep_fraction <= 1, "verify.deep_fraction", "more than 0, up to 1")
    _require(0 <= verify.store_fraction <= 1, "verify.store_fraction", "0 to 1")
    _require(verify.jitter_s >= 0, "verify.jitter_s", "0 and more seconds")
    _require(verify.quarantine_days >= 0, "verify.quarantine_days", "0 and more days")
    _require(config.backup.settle_s >= 0, "backup.settle_s", "0 and more seconds")
    _require(config.retention.keep >= 1, "retention.keep", "1 and more")
    _require(config.retention.reports > 0, "retention.reports", "more than 0 days")
    _require(config.daemon.state_dir.startswith("/"), "daemon.state_dir", "an absolute path")
    _parsed("verify.rate", verify.rate, rate_bytes_per_s)
    _parsed("backup.upload_rate", config.backup.upload_rate, rate_bytes_per_s)
    _parsed("verify.quarantine_max", verify.quarantine_max, size_bytes)
    _parsed("retention.prune_grace", config.retention.prune_grace, duration_s)
    for key in ("quick", "deep", "drill"):
        try:
            Schedule(getattr(verify, key))
        except Failure as failure:
            raise ConfigInvalid(f"verify.{key}", f"{failure.subject!r}: {failure.detail}") from failure


def _require(good: bool, key: str, expected: str) -> None:
    if not good:
        raise ConfigInvalid(key, f"expected {expected}")


def _parsed(key: str, text: str, parse: Callable[[str], object]) -> None:
    try:
        parse(text)
    except ValueError as error:
        raise ConfigInvalid(key, str(error)) from error

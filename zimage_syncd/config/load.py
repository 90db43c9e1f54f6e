"""Finds the configuration, reads it together with the environment, and refuses what cannot be meant.

A file is used only if it belongs to root or the user and nobody else may write it.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec

from zimage_syncd.config.check import check
from zimage_syncd.config.environment import PREFIX, overlay
from zimage_syncd.config.kinds import fits, kind_of, mismatch
from zimage_syncd.config.schema import SECTIONS, Config, Store, StoreKind
from zimage_syncd.config.unknown import unknown
from zimage_syncd.model.failures import ConfigInvalid, ConfigMissing, ConfigUntrusted, Failure

_FILE = "zimage-syncd.toml"
_MAX_BYTES = 2**20


def load_config(path: str | None, environ: Mapping[str, str], cwd: str, home: str) -> Config:
    """The configuration that counts here.

    Args:
        path: --config; None: looked for.
        environ: the process's environment.
        cwd: the working directory.
        home: the user's home directory.

    Raises:
        ConfigMissing: there is none, or the named one does not exist.
        ConfigUntrusted: others may write the file.
        ConfigInvalid: it is not TOML, or a key or value is not known.
        ConfigContradictory: two settings contradict each other.
        StoreUrlInvalid: a store's address cannot be used.
    """
    named = path or environ.get("ZIMAGE_SYNCD_CONFIG") or None
    candidates = [named] if named else _places(cwd, home)
    found = next((place for place in candidates if os.path.lexists(place)), None)
    if found is None and named is not None:
        raise ConfigMissing(named, "there is no such file")
    if found is None and not any(name.upper().startswith(f"{PREFIX}CACHE__") for name in environ):
        raise ConfigMissing("no file", f"looked for {', '.join(candidates)}")
    document = {} if found is None else _read(found)
    source = found or "the environment"
    return _convert(overlay(document, environ), source)


def _places(cwd: str, home: str) -> list[str]:
    return [
        os.path.join(cwd, _FILE),
        os.path.join(home, ".config/zimage-syncd/config.toml"),
        "/etc/zimage-syncd/config.toml",
    ]


def _read(path: str) -> dict[str, Any]:
    try:
        # Not blocking: a FIFO in this place must not hold the command up before it is refused.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            _require_trusted(path, os.fstat(file.fileno()))
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(path, f"it cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigInvalid(path, f"it is larger than {_MAX_BYTES} bytes")
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(path, f"it is not TOML: {error}") from error


def _require_trusted(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigInvalid(path, "it is no regular file")
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigUntrusted(path, f"it belongs to user {status.st_uid}, expected root or user {os.geteuid()}")
    if status.st_mode & 0o022:
        raise ConfigUntrusted(path, f"mode {status.st_mode & 0o777:04o}: group or others may write it")


def _convert(document: dict[str, Any], source: str) -> Config:
    _refuse_unknown(document, source)
    if not document.get("cache", {}).get("dir"):
        raise ConfigInvalid(source, "cache.dir is missing: the directory on the data disk that holds the caches")
    for name, table in document.get("stores", {}).items():
        if "url" not in table:
            raise ConfigInvalid(source, f"stores.{name}.url is missing: a path, file:///…, s3://… or another URL")
    config = msgspec.convert({**document, "source": source}, Config)
    config = _with_defaults(_with_plain_paths(config), document)
    try:
        check(config)
    except Failure as failure:
        raise type(failure)(source, f"{failure.subject}: {failure.detail}") from failure
    return config


def _refuse_unknown(document: Mapping[str, Any], source: str) -> None:
    for name, table in document.items():
        if name == "stores":
            continue
        if name not in SECTIONS:
            raise ConfigInvalid(source, unknown("table", name, [*SECTIONS, "stores"]))
        _refuse_keys(table, SECTIONS[name], name, source)
    stores = document.get("stores", {})
    if not isinstance(stores, dict):
        raise ConfigInvalid(source, f"stores: expected tables [stores.NAME], found {type(stores).__name__}")
    for name, table in stores.items():
        _refuse_keys(table, Store, f"stores.{name}", source)


def _refuse_keys(table: object, section: type[Any], name: str, source: str) -> None:
    if not isinstance(table, dict):
        raise ConfigInvalid(source, f"{name}: expected a table [{name}], found {type(table).__name__}")
    for key, value in table.items():
        if key not in section.__struct_fields__:
            raise ConfigInvalid(source, f"{name}.{key}: {unknown('key', key, section.__struct_fields__)}")
        if not fits(kind := kind_of(section, key), value):
            raise ConfigInvalid(source, f"{name}.{key}: {mismatch(kind, key, value)}")


def _with_plain_paths(config: Config) -> Config:
    """`/mnt/data/` is `/mnt/data`: paths are compared, and put together with others."""
    cache = config.cache
    plain = msgspec.structs.replace(
        cache,
        dir=_without_slash(cache.dir),
        mount=_without_slash(cache.mount),
        links=[_without_slash(link) for link in cache.links],
    )
    state_dir = _without_slash(config.daemon.state_dir)
    daemon = msgspec.structs.replace(config.daemon, state_dir=state_dir)
    return msgspec.structs.replace(config, cache=plain, daemon=daemon)


def _without_slash(path: str) -> str:
    return path.rstrip("/") or path[:1]


def _with_defaults(config: Config, document: Mapping[str, Any]) -> Config:
    """restore.order: all stores; backup.to: all archives; in the order of the file."""
    order, to = config.restore.order, config.backup.to
    if "order" not in document.get("restore", {}):
        order = list(config.stores)
    if "to" not in document.get("backup", {}):
        to = [name for name, store in config.stores.items() if store.kind is not StoreKind.CACHE_TREE]
    return msgspec.structs.replace(
        config,
        restore=msgspec.structs.replace(config.restore, order=order),
        backup=msgspec.structs.replace(config.backup, to=to),
    )

"""What a `[stores.NAME]` table may say: its name, its address, and the keys that mean something for its kind."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from zimage_syncd.config.places import inside, objection, overlap
from zimage_syncd.config.schema import HUBS, Cache, Store, StoreKind
from zimage_syncd.model.failures import ConfigContradictory, ConfigInvalid, StoreUrlInvalid

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_MODE = re.compile(r"[0-7]{3,4}")
_TREE_KEYS = frozenset({"mode", "seed", "group", "file_mode", "dir_mode", "lease_expiry_s", "when_gone"})
_S3_KEYS = frozenset({"endpoint_url", "region", "addressing_style", "profile", "credentials_file", "ca_bundle"})
_KEYS = {
    StoreKind.CACHE_TREE: _TREE_KEYS,
    StoreKind.DIRECTORY: frozenset({"mode"}),
    StoreKind.S3: _S3_KEYS,
    StoreKind.FSSPEC: frozenset({"options"}),
}
"""Which keys besides the address mean something for which kind of store."""


def check_store(cache: Cache, name: str, store: Store) -> None:
    """Refuses a store that cannot be meant.

    Args:
        cache: the cache directory and the links to it.
        name: the store's name.
        store: its table, defaults included.

    Raises:
        ConfigInvalid: the name or a value cannot be used.
        ConfigContradictory: two settings contradict each other.
        StoreUrlInvalid: the address cannot be used.
    """
    key = f"stores.{name}"
    if not _NAME.fullmatch(name):
        expected = "a name of a-z, 0-9, - and _, beginning with a letter or a digit"
        raise ConfigInvalid(key, f"expected {expected}, found {name[:80]!r}")
    if name in HUBS:
        raise ConfigInvalid(key, f"{name} is the hub's own name in restore.order; choose another one")
    _check_url(f"{key}.url", store)
    _check_keys(key, store)
    if store.path and overlap(store.path, cache.dir):
        raise ConfigContradictory(f"{key}.url", f"{store.path} and cache.dir = {cache.dir} lie in each other")
    for link in cache.links:
        if store.path and inside(store.path, link):
            raise ConfigContradictory(f"{key}.url", f"{store.path} lies behind {link} of cache.links")


def check_apart(stores: Mapping[str, Store]) -> None:
    """Refuses two stores that are one: it would be backed up to twice, and a repair would ask damage for a good copy.

    Raises:
        ConfigContradictory: names both.
    """
    first: dict[tuple[object, ...], str] = {}
    for name, store in stores.items():
        other = first.setdefault(_place(store), name)
        if other != name:
            raise ConfigContradictory(f"stores.{name}.url", f"stores.{other}.url is the same place; keep one of them")


def _place(store: Store) -> tuple[object, ...]:
    if store.path:
        return (store.path,)
    address = store.url.rstrip("/")
    return (address, store.endpoint_url.rstrip("/"), repr(sorted(store.options.items(), key=str)))


def _check_url(key: str, store: Store) -> None:
    shown = store.shown_url
    try:
        parts = urlsplit(store.url)
        _ = parts.port
    except ValueError:
        # Without its cause: the message quotes the address, with the password that it may hold.
        raise StoreUrlInvalid(key, f"{shown} cannot be parsed") from None
    match store.kind:
        case StoreKind.CACHE_TREE:
            if objection(store.path):
                raise StoreUrlInvalid(key, f"{objection(store.path)}")
        case StoreKind.DIRECTORY:
            if parts.netloc not in {"", "localhost"} or objection(store.path):
                raise StoreUrlInvalid(key, f"expected file:///ABSOLUTE/PATH, found {shown}")
        case StoreKind.S3:
            if "@" in parts.netloc:
                raise StoreUrlInvalid(key, f"{shown}: credentials belong into a profile or credentials_file")
            if not parts.netloc or ":" in parts.netloc:
                raise StoreUrlInvalid(key, f"expected s3://BUCKET/PREFIX, found {shown}")
        case StoreKind.FSSPEC:
            if not parts.scheme or "://" not in store.url:
                raise StoreUrlInvalid(key, f"expected an absolute path or a URL, found {shown!r}")


def _check_keys(key: str, store: Store) -> None:
    defaults = Store(url=store.url)
    for item in (*sorted(_TREE_KEYS), *sorted(_S3_KEYS), "options"):
        # Written as its default it says nothing, and contradicts nothing.
        if item not in _KEYS[store.kind] and getattr(store, item) != getattr(defaults, item):
            raise ConfigContradictory(f"{key}.{item}", f"it means nothing for a store of kind {store.kind}")
    if store.profile and store.credentials_file:
        raise ConfigContradictory(f"{key}.profile", f"{key}.credentials_file is set, too; keep one of them")
    if store.kind is StoreKind.DIRECTORY and store.mode == "symlink":
        detail = "an archive cannot be linked to: its blobs are not named as the libraries name them"
        raise ConfigContradictory(f"{key}.mode", detail)
    for item in ("file_mode", "dir_mode"):
        if not _MODE.fullmatch(getattr(store, item)):
            raise ConfigInvalid(f"{key}.{item}", f"expected an octal mode such as 0444, found {getattr(store, item)!r}")
    if wrong := _objection_to_endpoint(store.endpoint_url):
        raise ConfigInvalid(f"{key}.endpoint_url", wrong)
    for item in ("credentials_file", "ca_bundle"):
        path = getattr(store, item)
        if path and not os.path.isabs(path):
            raise ConfigInvalid(f"{key}.{item}", f"expected an absolute path, found {path!r}")


def _objection_to_endpoint(url: str) -> str | None:
    """What is wrong with an endpoint_url, without showing it: it may hold a password."""
    try:
        parts = urlsplit(url)
        good = not url or (parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        return "expected https://HOST[:PORT] or http://HOST[:PORT]"
    if parts.username is not None or parts.query:
        return "it holds credentials; they belong into a profile or credentials_file"
    return None

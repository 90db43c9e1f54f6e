"""What a configuration names on this machine, and is not there: told at start, not at the first use.

A disk that is not mounted yet is no mistake of the configuration: a file is missing only where its directory is there,
and never on the data disk. Otherwise the daemon would end with 3, which nobody tries again.
"""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
from dataclasses import dataclass

from zimage_syncd.config.places import inside
from zimage_syncd.config.schema import Cache, Config, Store, StoreKind
from zimage_syncd.model.failures import ConfigInvalid, StoreUrlInvalid


@dataclass(frozen=True, slots=True)
class Owner:
    """What `cache.owner` means here."""

    user_id: int
    """Of the user."""
    group_id: int
    """Of the group; the user's own where none is named."""


def check_presence(config: Config) -> None:
    """Refuses names of users, files and protocols that this machine does not have.

    Raises:
        ConfigInvalid: cache.owner, or a file that a store names.
        StoreUrlInvalid: no installed package serves the address.
    """
    if config.cache.owner:
        owner_of(config.cache.owner)
    for name, store in config.stores.items():
        for key in ("credentials_file", "ca_bundle"):
            path = getattr(store, key)
            if path and _is_missing(path, config.cache):
                raise ConfigInvalid(f"stores.{name}.{key}", f"there is no file {path}")
        if store.kind is StoreKind.FSSPEC:
            _check_protocol(f"stores.{name}.url", store)


def owner_of(owner: str) -> Owner:
    """The ids of `user:group`, as names or numbers.

    Raises:
        ConfigInvalid: there is no such user or group.
    """
    user, _, group = owner.partition(":")
    try:
        user_id = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        if not group:
            return Owner(user_id, pwd.getpwuid(user_id).pw_gid)
        return Owner(user_id, int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid)
    except (KeyError, OverflowError) as error:
        raise ConfigInvalid("cache.owner", f"{owner!r}: no such user or group") from error


def _is_missing(path: str, cache: Cache) -> bool:
    if inside(os.path.normpath(path), cache.mount or cache.dir):
        return False
    return os.path.isdir(os.path.dirname(path)) and not os.path.isfile(path)


def _check_protocol(key: str, store: Store) -> None:
    """By fsspec's own list, without importing what serves the address."""
    from fsspec.registry import known_implementations, registry  # noqa: PLC0415 - only such a store pays for it

    protocol = store.url.partition("://")[0]
    known = known_implementations.get(protocol)
    if known is None and protocol not in registry:
        raise StoreUrlInvalid(key, f"fsspec knows no {protocol}://")
    package = "fsspec" if known is None else known["class"].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise StoreUrlInvalid(key, f"{protocol}:// needs the package {package}: pip install {package}")

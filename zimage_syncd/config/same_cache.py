"""Which keys a running daemon cannot follow: it holds on to one cache, and to one system disk."""

from __future__ import annotations

from zimage_syncd.config.schema import Config
from zimage_syncd.model.failures import ConfigContradictory


def same_cache(old: Config, new: Config) -> Config:
    """The new configuration, where it is about the cache of the old one.

    Raises:
        ConfigContradictory: it is about another cache, or another system disk.
    """
    fixed = {
        "cache.dir": (old.cache.dir, new.cache.dir),
        "cache.mount": (old.cache.mount, new.cache.mount),
        "cache.id": (old.cache.id, new.cache.id),
        "daemon.state_dir": (old.daemon.state_dir, new.daemon.state_dir),
    }
    for key, (before, now) in fixed.items():
        if before != now:
            detail = f"{key} was {before or 'empty'}, found {now or 'nothing'}; a change needs a new start"
            raise ConfigContradictory(new.source, detail)
    return new

"""Facts about disks and links, as they were seen at one moment; nothing is concluded here."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class LinkKind(enum.StrEnum):
    """What lies where a cache link belongs."""

    ABSENT = "nothing"
    SYMLINK = "a symlink"
    EMPTY_DIRECTORY = "an empty directory"
    DIRECTORY = "a directory with content"
    CACHE = "the cache directory itself"
    """By another mount; no link is needed there."""
    OTHER = "a file"


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """One cache link."""

    path: str
    """Absolute, as configured."""
    kind: LinkKind
    """What lies there."""
    target: str = ""
    """The symlink's text."""
    resolved: str = ""
    """Where the symlink leads in the end; the path may not exist."""
    has_aside: bool = False
    """Whether a directory that lay here is on its way into the cache, and still lies beside the link."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The data disk's identity file."""

    cache_id: str
    """By which the cache is known; a UUID, or what cache.id says."""
    system_mark: str
    """The mark of the system disk that last used it; empty before the daemon's first start."""
    counter: int
    """How often the daemon started with this cache."""


@dataclass(frozen=True, slots=True)
class SystemMark:
    """The system disk's mark, in `daemon.state_dir`."""

    mark: str
    """A UUID, made once for each life of the system disk."""
    cache_id: str
    """The cache that it last used."""
    counter: int
    """The identity's counter at that time."""
    boot_id: str = ""
    """The kernel's, at that time; empty where it was not recorded. Evidence only: containers share their host's."""
    file_system: int = 0
    """The data disk's `f_fsid` (statvfs(3)) at that time; 0 where it was not recorded."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that the decision about a reset rests on."""

    cache_dir: str
    """As configured."""
    cache_real: str
    """The same with symlinks resolved."""
    cache_present: bool
    """Whether it is a directory."""
    cache_empty: bool
    """Whether it holds nothing but this program's state."""
    mount: str
    """As configured; empty where there is none to check."""
    mounted: bool
    """Whether `st_dev` differs from the parent's; True where no mount is configured."""
    read_only: bool
    """Whether the file system is mounted read-only."""
    free_bytes: int
    """For ordinary users; 0 where the place is missing."""
    total_bytes: int
    """Of the file system."""
    identity: Identity | None
    """What the data disk says it is; None where there is no (readable) identity."""
    mark: SystemMark | None
    """What the system disk remembers; None where there is nothing."""
    expected_id: str
    """cache.id; empty where any cache is right."""
    links: tuple[LinkFacts, ...]
    """One for each configured cache link."""
    identity_trouble: str = ""
    """Why an identity is there and cannot be understood; empty where it can, or where there is none."""
    boot_id: str = ""
    """The kernel's (/proc/sys/kernel/random/boot_id); empty where it cannot be read."""
    file_system: int = 0
    """The `f_fsid` of the data disk's file system; 0 where it has none."""
    in_use: str = ""
    """Which other host has the data disk, as far as is known; empty where none has, or none could."""
    lacking: tuple[str, ...] | None = None
    """Repositories that are meant to be in the cache and are not complete there; None where nobody looked."""

"""All keys of the configuration with their types and defaults (docs/configuration.md)."""

from __future__ import annotations

import enum
import re
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are refused."""


class StoreKind(enum.StrEnum):
    """What a store's address means."""

    CACHE_TREE = "cache tree"
    DIRECTORY = "directory"
    S3 = "s3"
    FSSPEC = "fsspec"


Mode = Literal["auto", "symlink", "hardlink", "reflink", "copy"]


class Cache(_Section, frozen=True):
    """`[cache]`: where the caches lie and what must be in them."""

    dir: str
    mount: str = ""
    links: list[str] = []
    repos: list[str] = []
    id: str = ""
    owner: str = ""


class Store(_Section, frozen=True):
    """`[stores.NAME]`: a place outside this instance's disks."""

    url: str
    mode: Mode = "auto"
    seed: bool = False
    group: str = ""
    file_mode: str = "0444"
    dir_mode: str = "2775"
    lease_expiry_s: float = 180.0
    when_gone: Literal["report", "copy"] = "report"
    endpoint_url: str = ""
    region: str = ""
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    profile: str = ""
    credentials_file: str = ""
    ca_bundle: str = ""
    options: dict[str, Any] = {}

    @property
    def kind(self) -> StoreKind:
        """What the address means."""
        if self.url.startswith("/"):
            return StoreKind.CACHE_TREE
        # Not by urlsplit: what it cannot parse has a kind, too, and is refused by name later.
        scheme = self.url.partition(":")[0].lower()
        if scheme == "file":
            return StoreKind.DIRECTORY
        return StoreKind.S3 if scheme == "s3" else StoreKind.FSSPEC

    @property
    def path(self) -> str:
        """The absolute path of a cache tree or a directory, without a slash at its end; empty for the others."""
        if self.kind is StoreKind.CACHE_TREE:
            return self.url.rstrip("/") or "/"
        return unquote(urlsplit(self.url).path).rstrip("/") if self.kind is StoreKind.DIRECTORY else ""

    @property
    def shown_url(self) -> str:
        """The address without a password."""
        return hide_secrets(self.url)

    def __repr__(self) -> str:
        """Without what may be secret: the address may hold a password, the options anything."""
        return f"Store(url={self.shown_url!r}, kind={str(self.kind)!r})"


_PROTOCOL_CHAIN = re.compile(r"[\w+.-]+::")
"""fsspec's chains, such as `simplecache::s3://…`."""
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:@]*)(?::\d*)?")


def hide_secrets(url: str) -> str:
    """An address without user, password, query and fragment.

    Where it cannot be told apart, rather too much is left out: a password may hold unescaped `/`, `#` and `@`.
    """
    if chain := _PROTOCOL_CHAIN.match(url):
        return chain[0] + hide_secrets(url[chain.end() :])
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        return url
    slashes = "//" if rest.startswith("//") else ""
    rest = rest.removeprefix("//")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if at and ":" not in user:
        rest = rest[len(user) + 1 :]
    elif not _HOST_AND_PORT.fullmatch(authority):
        rest = rest.rpartition("@")[2] if "@" in rest else "(hidden)"
    return f"{scheme}:{slashes}{re.split(r'[?#]', rest, maxsplit=1)[0]}"


class Restore(_Section, frozen=True):
    """`[restore]`: where from, the nearest first."""

    order: list[str] = []
    processes: int = -1


class Backup(_Section, frozen=True):
    """`[backup]`: where to, and when."""

    to: list[str] = []
    settle_s: float = 60.0
    upload_rate: str = ""


class Verify(_Section, frozen=True):
    """`[verify]`: what is checked when."""

    quick: str = "*/15 * * * *"
    deep: str = "0 4 * * *"
    deep_fraction: float = 1.0
    drill: str = ""
    drill_dir: str = ""
    store_fraction: float = 0.05
    jitter_s: float = 300.0
    rate: str = ""
    repair: bool = True
    quarantine_days: float = 30.0
    quarantine_max: str = ""


class Health(_Section, frozen=True):
    """`[health]`: how the cache is proved."""

    level: Literal["auto", "files", "load", "generate"] = "auto"
    after: list[Literal["reset", "restore", "repair"]] = msgspec.field(
        default_factory=lambda: ["reset", "restore", "repair"]
    )
    device: Literal["auto", "cuda", "cpu"] = "auto"
    size_px: int = 512
    steps: int = 4
    timeout_s: float = 600.0
    when_busy: Literal["wait", "skip", "cpu", "smaller"] = "wait"
    python: str = ""


class Retention(_Section, frozen=True):
    """`[retention]`: how long things are kept."""

    keep: int = 3
    reports: float = 90.0
    prune_grace: str = "24h"


class Daemon(_Section, frozen=True):
    """`[daemon]`: the service itself."""

    http: str = "127.0.0.1:8790"
    socket: str = ""
    allowed_hosts: list[str] = []
    token_file: str = ""
    log: Literal["auto", "console", "json", "journald"] = "auto"
    state_dir: str = "/var/lib/zimage-syncd"


class Notify(_Section, frozen=True):
    """`[notify]`: who is told."""

    urls: list[str] = []
    on: list[Literal["problem", "solved", "restored", "health_failed"]] = msgspec.field(
        default_factory=lambda: ["problem", "solved", "restored", "health_failed"]
    )
    healthcheck_url: str = ""

    def __repr__(self) -> str:
        """Without the addresses: they hold tokens."""
        return f"Notify({len(self.urls)} urls, on={self.on!r})"


class Config(_Section, frozen=True):
    """The whole configuration."""

    cache: Cache
    stores: dict[str, Store] = {}
    restore: Restore = Restore()
    backup: Backup = Backup()
    verify: Verify = Verify()
    health: Health = Health()
    retention: Retention = Retention()
    daemon: Daemon = Daemon()
    notify: Notify = Notify()
    source: str = ""
    """Where it was read; not a key of the file."""


SECTIONS: dict[str, type[_Section]] = {
    "cache": Cache,
    "restore": Restore,
    "backup": Backup,
    "verify": Verify,
    "health": Health,
    "retention": Retention,
    "daemon": Daemon,
    "notify": Notify,
}
"""The tables of the file but `stores`, whose names are free."""

SECRET_KEYS = frozenset({"url", "options", "endpoint_url", "urls", "healthcheck_url"})
"""Keys whose values may hold passwords or tokens, and are never shown as they are."""

HUBS = ("modelscope", "huggingface")
"""Reserved names in restore.order: the hubs themselves."""

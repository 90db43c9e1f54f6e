"""A connection to whatever an fsspec URL leads to: made when it is first needed, made anew after it broke."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from zimage_syncd.model.failures import Failure, StoreDenied, StoreUnreachable, StoreUrlInvalid
from zimage_syncd.stores.fsspec_errors import failure_of

FileSystem: TypeAlias = Any
"""An instance of some fsspec implementation, which fsspec itself does not type."""

_SSH_DEFAULTS: dict[str, object] = {
    # sshfs itself would trust any host key; the empty tuple means ~/.ssh/known_hosts (asyncssh, connect()).
    "known_hosts": (),
    "connect_timeout": 10,
    # Finds out within a minute that a peer is gone (three keepalives unanswered).
    "keepalive_interval": 20,
}


class Connection:
    """The file system behind a URL; safe to use from several threads.

    Args:
        url: any that fsspec knows, such as `sftp://user@host/path`.
        options: what that file system takes besides.

    Attributes:
        root: the path that all objects lie below.
        address: the URL without password and query, for people.

    Raises:
        StoreUrlInvalid: no file system for it is known, or its package is not installed.
    """

    def __init__(self, url: str, options: Mapping[str, object]) -> None:
        import fsspec  # noqa: PLC0415 (a tenth of a second that other stores do not pay)

        self.address = without_secrets(url)
        protocol = url.partition("://")[0]
        try:
            self._kind: Any = fsspec.get_filesystem_class(protocol)
            self.root: str = self._kind._strip_protocol(url).rstrip("/")
            defaults = _SSH_DEFAULTS if self._kind.__module__.startswith("sshfs.") else {}
            self._options: dict[str, Any] = {**defaults, **self._kind._get_kwargs_from_urls(url), **options}
        except (ImportError, ValueError) as error:
            raise StoreUrlInvalid(self.address, f"{type(error).__name__}: {error}"[:300]) from error
        self._lock = threading.Lock()
        self._open: Any = None

    @property
    def renames(self) -> bool:
        """Whether a rename is an operation of its own; elsewhere fsspec copies and deletes.

        File systems that rename have real directories; the others are object stores (or memory), whose objects
        appear whole and whose directories need not be made.
        """
        from fsspec.spec import AbstractFileSystem  # noqa: PLC0415 (see above)

        return hasattr(self._kind, "_mv") or self._kind.mv is not AbstractFileSystem.mv

    @contextmanager
    def using(self, subject: str) -> Iterator[FileSystem]:
        """Gives the file system, and turns its errors into failures (see `fsspec_errors`)."""
        opened = self._opened()
        try:
            yield opened
        except Failure:
            raise
        except Exception as error:
            failure = failure_of(error, subject)
            if isinstance(failure, StoreUnreachable):
                self._forget(opened)
            raise failure from error

    def _opened(self) -> FileSystem:
        with self._lock:
            if self._open is None:
                try:
                    # fsspec's own cache of instances would give a broken connection again.
                    self._open = self._kind(**self._options, skip_instance_cache=True)
                except Exception as error:
                    raise self._refusal(error) from error
            return self._open

    def _refusal(self, error: Exception) -> Failure:
        failure = failure_of(error, self.address)
        if isinstance(error, TypeError):
            return StoreUrlInvalid(self.address, f"an option is not understood: {error}"[:300])
        if isinstance(error, OSError) and not isinstance(failure, StoreDenied):
            return StoreUnreachable(self.address, failure.detail)
        return failure

    def _forget(self, broken: FileSystem) -> None:
        with self._lock:
            if self._open is broken:
                self._open = None


def without_secrets(url: str) -> str:
    """A URL without password, query and fragment."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{user}{host}", parts.path, "", "")) if parts.scheme else os.path.basename(url)

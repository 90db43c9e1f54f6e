"""What the errors of fsspec's many implementations mean.

They are told by their names where their libraries are not among this program's own, so that none is imported
for it. Messages hold an error's type and its system text only: libraries put whole addresses into theirs.
"""

from __future__ import annotations

import errno
import socket

from zimage_syncd.model.failures import (
    DeviceFull,
    Failure,
    ObjectMissing,
    StoreBroken,
    StoreDenied,
    StoreUnreachable,
)

_BY_NAME: dict[str, type[Failure]] = {
    # asyncssh (misc.py, sftp.py)
    "PermissionDenied": StoreDenied,
    "HostKeyNotVerifiable": StoreDenied,
    "KeyExchangeFailed": StoreDenied,
    "SFTPPermissionDenied": StoreDenied,
    "SFTPWriteProtect": StoreDenied,
    "SFTPNoSuchFile": ObjectMissing,
    "SFTPNoSuchPath": ObjectMissing,
    "SFTPNoSpaceOnFilesystem": DeviceFull,
    "SFTPQuotaExceeded": DeviceFull,
    "SFTPConnectionLost": StoreUnreachable,
    "SFTPNoConnection": StoreUnreachable,
    "ChannelOpenError": StoreUnreachable,
    "DisconnectError": StoreUnreachable,
    # paramiko (ssh_exception.py)
    "AuthenticationException": StoreDenied,
    "SSHException": StoreUnreachable,
}

_BY_NUMBER: dict[int, type[Failure]] = {
    errno.ENOSPC: DeviceFull,
    errno.EDQUOT: DeviceFull,
    errno.EROFS: StoreDenied,
    errno.EHOSTUNREACH: StoreUnreachable,
    errno.ENETUNREACH: StoreUnreachable,
    errno.EHOSTDOWN: StoreUnreachable,
}


def failure_of(error: Exception, subject: str) -> Failure:
    """The failure that an error of a file system stands for.

    Args:
        error: what was caught.
        subject: the object, or the store's address without secrets.
    """
    text = getattr(error, "strerror", None) or getattr(error, "reason", None)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return _kind(error)(subject, said)


def _kind(error: Exception) -> type[Failure]:
    # The most specific class first: asyncssh's HostKeyNotVerifiable is a DisconnectError, too.
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in _BY_NAME:
            return _BY_NAME[ancestor.__name__]
    match error:
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
            return ObjectMissing
        case PermissionError():
            return StoreDenied
        case ConnectionError() | TimeoutError() | socket.gaierror() | EOFError():
            return StoreUnreachable
        case OSError():
            return _BY_NUMBER.get(error.errno or 0, StoreBroken)
    return StoreBroken

"""What of a system's files belongs to the program's settings, and is put back after a reset where it is missing."""

from __future__ import annotations

import os
from collections.abc import Iterable

from zimage_syncd.model.failures import PathUnreadable
from zimage_syncd.setup.ground import SystemFile
from zimage_syncd.setup.mounts import Mounted, mount_of

CONFIG = "/etc/zimage-syncd/config.toml"
"""Where the daemon looks at last, and the command line too."""
ENVIRONMENT = "/etc/zimage-syncd/environment"
"""The units' EnvironmentFile=; may hold keys."""

_DROP_INS = tuple(f"/etc/systemd/system/{unit}.service.d" for unit in ("zimage-syncd", "zimage-syncd-probe@"))
_MAX_BYTES = 2**20


def settings_files(config: str, named: Iterable[str], mounts: list[Mounted], root: str) -> list[SystemFile]:
    """The configuration, what it names on the system disk, the units' environment and drop-ins.

    Args:
        config: the configuration's file.
        named: files that it names, such as credentials. Those on other disks outlive a reset by themselves, and what
            the system makes anew at each start (below /run) is not this program's.
        mounts: of the process.
        root: of the system; another one in tests.

    Raises:
        PathUnreadable: a file is there and cannot be read, or is larger than 1 MiB.
    """
    files = {CONFIG: SystemFile(CONFIG, _read(config), 0o600)}
    for path in named:
        if mount_of(os.path.realpath(path), mounts).point == "/":
            files[path] = SystemFile(path, _read(path), 0o600)
    if os.path.exists(place := root.rstrip("/") + ENVIRONMENT):
        files[ENVIRONMENT] = SystemFile(ENVIRONMENT, _read(place), 0o600)
    for directory in _DROP_INS:
        place = root.rstrip("/") + directory
        for name in sorted(os.listdir(place)) if os.path.isdir(place) else []:
            if name.endswith(".conf"):
                files[f"{directory}/{name}"] = SystemFile(f"{directory}/{name}", _read(f"{place}/{name}"))
    return list(files.values())


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise PathUnreadable(path, str(error.strerror)) from error
    if len(content) > _MAX_BYTES:
        raise PathUnreadable(path, f"expected a file of settings, found more than {_MAX_BYTES} bytes")
    return content

"""The units and lists that go to /etc, as text: this program's own, and one that mounts the data disk."""

from __future__ import annotations

import os
import re

from zimage_syncd.setup.ground import SystemFile
from zimage_syncd.setup.mounts import DiskAddress

MARK = "# Written by `zimage-syncd install`; `zimage-syncd uninstall` removes it."
UNITS = "/etc/systemd/system"
LISTS = {"sysusers.conf": "/etc/sysusers.d/zimage-syncd.conf", "tmpfiles.conf": "/etc/tmpfiles.d/zimage-syncd.conf"}
"""Where lists go, by the names that they are delivered by."""

_COMMAND = "/usr/local/bin/zimage-syncd"
_PAGE = "file:///usr/local/share/doc/zimage-syncd/README.md"
"""What the delivered units say."""


def system_units(share: str, home: str, mount: DiskAddress | None) -> list[SystemFile]:
    """Everything for /etc/systemd, /etc/sysusers.d and /etc/tmpfiles.d.

    Args:
        share: where the delivered units lie.
        home: of the copy that they start.
        mount: of the data disk; None: there is none to mount.

    Raises:
        OSError: a unit cannot be read.
    """
    files = []
    for name in sorted(os.listdir(share)):
        if name.endswith((".service", ".timer")):
            files.append(SystemFile(f"{UNITS}/{name}", _unit(_read(share, name), home)))
        elif name in LISTS:
            files.append(SystemFile(LISTS[name], _marked(_read(share, name))))
    if mount is not None and mount.spec:
        files.append(SystemFile(f"{UNITS}/{unit_name(mount.point, 'mount')}", mount_unit(mount)))
    return files


def unit_name(path: str, kind: str) -> str:
    """The name that systemd wants for the unit of a path (systemd-escape(1), `--path`).

    Args:
        path: of a mount point or a device.
        kind: `mount` or `device`.
    """
    parts = "/".join(filter(None, path.split("/")))
    escaped = re.sub(r"[^A-Za-z0-9:_./]", lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), parts)
    return f"{_without_first_dot(escaped).replace('/', '-') or '-'}.{kind}"


def mount_unit(mount: DiskAddress) -> bytes:
    """A unit that mounts a disk as soon as it is there, and holds nothing up where it is not."""
    device = _device(mount.spec)
    # nofail: no target of early start waits for it (systemd.mount(5)). Wanted by its device alone: with a start job
    # that waits for the disk the daemon would wait, too, which is the one to tell that the disk is missing.
    options = ",".join(["nofail", *filter(None, [mount.options])])
    return _marked(
        "[Unit]\n"
        "Description=Data disk of the model caches\n"
        "# At the end the daemon is stopped before it is unmounted.\n"
        "Before=zimage-syncd.service\n"
        "\n"
        "[Mount]\n"
        f"What={_without_specifiers(device)}\n"
        f"Where={_without_specifiers(mount.point)}\n"
        f"Type={mount.kind}\n"
        f"Options={_without_specifiers(options)}\n"
        "\n"
        "[Install]\n"
        f"WantedBy={unit_name(device, 'device')}\n"
    )


def _device(spec: str) -> str:
    kind, _, name = spec.partition("=")
    return f"/dev/disk/by-{kind.lower()}/{name}"


def _unit(text: str, home: str) -> bytes:
    page = f"file://{home}/share/doc/zimage-syncd/README.md"
    return _marked(text.replace(_COMMAND, f"{home}/bin/zimage-syncd").replace(_PAGE, page))


def _marked(text: str) -> bytes:
    return f"{MARK}\n{text}".encode()


def _without_specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _without_first_dot(text: str) -> str:
    return f"\\x2e{text[1:]}" if text.startswith(".") else text


def _read(directory: str, name: str) -> str:
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        return file.read()

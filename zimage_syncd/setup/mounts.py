"""What is mounted where, and how it is found again on a machine whose fstab is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How blanks and the like are written in /proc/PID/mountinfo (proc(5))."""
_KEPT_OPTIONS = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "discard", "compress", "prjquota")
"""Options that somebody chose; the rest are a file system's defaults, and some of these cannot be given to mount(8)."""
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "overlay"})
"""Of the system disk, or of nothing."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of the mount table."""

    point: str
    """Where."""
    root: str
    """What of the file system: `/`, or a directory of it (bind mount, subvolume)."""
    kind: str
    """ext4, xfs, nfs4, …"""
    source: str
    """A device, `host:/path`, or a word."""
    options: tuple[str, ...]
    """Of this mount and of its file system."""

    @property
    def is_lasting(self) -> bool:
        """Whether it is neither the system disk nor memory, as far as the table tells."""
        return self.point != "/" and self.kind not in _IN_MEMORY


@dataclass(frozen=True, slots=True)
class DiskAddress:
    """How a file system is mounted again."""

    point: str
    """Where."""
    spec: str
    """`UUID=…` or `LABEL=…`, as mount(8) and systemd.mount(5) take it; empty where only the provider can mount it."""
    kind: str
    """As in the mount table."""
    options: str
    """Comma-separated; may be empty."""
    reason: str = ""
    """Why there is no `spec`."""


def read_mounts() -> list[Mounted]:
    """The mount table of this process.

    Raises:
        OSError: there is no /proc.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mounts(file.read())


def parse_mounts(table: str) -> list[Mounted]:
    """The lines of /proc/PID/mountinfo (proc(5)); what is mounted over something comes after it."""
    found = []
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        before, after = fields.split(" "), rest.split(" ")
        if len(before) < 6 or len(after) < 3:
            continue
        options = dict.fromkeys([*before[5].split(","), *after[2].split(",")])
        found.append(Mounted(_plain(before[4]), _plain(before[3]), after[0], _plain(after[1]), tuple(options)))
    return found


def mount_of(path: str, mounts: list[Mounted]) -> Mounted:
    """The mount that a path lies on; what does not exist yet lies where its directory would.

    Args:
        path: absolute, without links.
        mounts: of the process, in the table's order.
    """
    best = Mounted("/", "/", "overlay", "", ())
    for each in mounts:
        if (path == each.point or path.startswith(each.point.rstrip("/") + "/")) and len(each.point) >= len(best.point):
            best = each
    return best


def address_of(mounted: Mounted, links: Mapping[str, str]) -> DiskAddress:
    """How a mounted file system is mounted again.

    Args:
        mounted: the mount.
        links: the device that each of `UUID=…` and `LABEL=…` leads to on this machine.
    """
    subvolume = [option for option in mounted.options if option.startswith("subvol=")]
    options = ",".join([option for option in mounted.options if option.split("=")[0] in _KEPT_OPTIONS] + subvolume)
    reason = ""
    spec = next((spec for spec, device in links.items() if device == os.path.realpath(mounted.source)), "")
    if not mounted.source.startswith("/dev/"):
        reason = f"{mounted.kind} from {mounted.source} is no disk of this machine"
    elif mounted.root != "/" and not subvolume:
        reason = f"it is a bind mount of {mounted.root} on {mounted.source}"
    elif not spec:
        reason = f"{mounted.source} has neither UUID nor label in /dev/disk"
    return DiskAddress(mounted.point, "" if reason else spec, mounted.kind, options, reason)


def device_links() -> dict[str, str]:
    """What udev's links say: the device of each UUID, then of each label."""
    found = {}
    for kind, directory in (("UUID", "/dev/disk/by-uuid"), ("LABEL", "/dev/disk/by-label")):
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        # Labels with characters that need escapes are left to their UUIDs.
        plain = [name for name in names if re.fullmatch(r"[\w.:+-]+", name)]
        found.update({f"{kind}={name}": os.path.realpath(os.path.join(directory, name)) for name in plain})
    return found


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)

"""The boot script, which lies beside the copy and knows every digest, and the one line that finds and checks it."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import asdict, dataclass

from zimage_syncd.setup.units import MARK

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.sh")

HOMES = "/usr/local/lib/zimage-syncd"
LINK = "/usr/local/bin/zimage-syncd"
PID_FILE = "/run/zimage-syncd.pid"
"""What the script calls by these names: where copies are unpacked, the command, a daemon without systemd."""

# Each step may fail without ending a caller that runs under `set -e`, until it is known that there is nothing to start.
_LINE = (
    "(d={point}; b={script}; h={digest}; k={identity}; i={cache_id}; m=; "
    't() {{ [ -n "$(find "$1/$b" -prune -type f -user 0 ! -perm -020 ! -perm -002 2>/dev/null)" ]'
    ' && grep -qsF "\\"$i\\"" "$1/$k" && s=$(cat "$1/$b")'
    ' && [ "$(printf "%s\\n" "$s" | sha256sum)" = "$h  -" ] && m=$1; }}; '
    't "$d" || while read -r _ p _; do t "$(printf %b "$p")" && break; done </proc/mounts || :; '
    "{mount}"
    '[ -n "$m" ] && exec sh -c "$s" zimage-syncd "$m" "$b"; '
    'echo "zimage-syncd: no disk here has the boot script of cache $i as it was installed: nothing was started" >&2; '
    "exit 1)"
)
_MOUNT = (
    '[ -n "$m" ] || mountpoint -q "$d" || '
    '{{ mkdir -p "$d" && mount {options}{spec} "$d" && {{ t "$d" || umount "$d"; }}; }} || :; '
)


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a boot script knows of what it starts; the names are its variables."""

    program: str
    """The copy's name below /usr/local/lib/zimage-syncd."""
    program_sha256: str
    """Of program.tar."""
    settings_sha256: str
    """Of settings.tar."""
    cache_id: str
    """Of the cache that the disk belongs to."""
    identity: str
    """The identity's path on the disk."""
    place: str
    """Where the disk was mounted, as the configuration knows it."""
    mount_point: str
    """Of the data disk; the same, where the copy lies on it."""
    mount_unit: str
    """The name of its unit; empty where it has none."""
    machine: str
    """As `uname -m` says it."""
    glibc: str
    """The oldest that will do."""


def boot_script(pinned: Pinned) -> str:
    """The script's text; it ends with exactly one line end, as the line expects.

    Raises:
        OSError: this program's own file cannot be read.
    """
    with open(_SCRIPT, encoding="utf-8") as file:
        body = file.read()
    variables = [f"{name}={shlex.quote(value)}" for name, value in asdict(pinned).items()]
    return "\n".join(["#!/bin/sh", MARK, *variables, f"mark={shlex.quote(MARK)}", "", body.rstrip("\n"), ""])


def sha256_of(text: str) -> str:
    """The digest that the line compares, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def start_line(pinned: Pinned, script: str, digest: str, spec: str, options: str) -> str:
    """The line for a provider's start-up script or cloud-init's user data; for any POSIX sh.

    Args:
        pinned: what the script knows.
        script: its path on the disk.
        digest: its SHA-256, in hex.
        spec: the disk's `UUID=…` or `LABEL=…`; empty: somebody else mounts it.
        options: for mount(8), comma-separated; may be empty.
    """
    mount = _MOUNT.format(options=f"-o {shlex.quote(options)} " if options else "", spec=shlex.quote(spec))
    return _LINE.format(
        point=shlex.quote(pinned.place),
        script=shlex.quote(script),
        digest=digest,
        identity=shlex.quote(pinned.identity),
        cache_id=shlex.quote(pinned.cache_id),
        mount=mount if spec else "",
    )

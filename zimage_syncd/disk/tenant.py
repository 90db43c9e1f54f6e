"""Who holds a data disk that several hosts reach: what a lease's file says, and whether that process still lives here.

What is read is somebody else's word: validated, bounded, and never more than a reason to watch longer.
"""

from __future__ import annotations

import enum
import json
import os
import re
import socket
from dataclasses import asdict, dataclass
from typing import Self

from zimage_syncd.disk.boot import boot_id

MAX_BYTES = 4096
"""Of a lease's file; ours have about 300."""

_WORD = re.compile(r"[\x21-\x7e]{0,255}")
_PHRASE = re.compile(r"[\x20-\x7e]{0,64}")
_MOST = 2**63 - 1
_START = 19
"""The field of /proc/PID/stat with the start's time, counted after the name (proc_pid_stat(5): the 22nd of all)."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One process that holds the data disk."""

    host: str
    """Its machine's name: for people, since clones share it."""
    pid: int
    """In its own name space."""
    boot_id: str
    """Of its kernel."""
    room: str
    """Its name spaces of process ids and of sockets; empty where it could not tell."""
    started_ticks: int
    """When the process began, in its kernel's ticks; 0 where it could not tell."""
    device: int
    """The data disk's `st_dev` as that kernel sees it: two mounts of one server share no locks."""
    doing: str
    """What it holds the disk for, such as `run` or `backup`."""
    since: str
    """When it took it, by its own clock, ISO 8601: for people."""
    fence: int = 0
    """Part of the names of its partial files; another one after each takeover from a host that had not let go."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.doing}) since {self.since}"

    def to_bytes(self) -> bytes:
        """As a JSON document."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Self | None:
        """What a lease's file says; None where it is no such document."""
        try:
            document = json.loads(data) if data is not None and len(data) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict) or set(document) != set(cls.__dataclass_fields__):
            return None
        words = [document[name] for name in ("host", "boot_id", "room", "since")]
        numbers = [document[name] for name in ("pid", "started_ticks", "device", "fence")]
        fine = all(isinstance(word, str) and _WORD.fullmatch(word) for word in words)
        fine = fine and all(type(number) is int and 0 <= number <= _MOST for number in numbers)
        fine = fine and isinstance(document["doing"], str) and _PHRASE.fullmatch(document["doing"]) is not None
        return cls(**document) if fine else None


class Kinship(enum.Enum):
    """What another tenant is to this process."""

    STRANGER = "stranger"
    """Of another host, as far as can be known: locks do not reach it, and whether it lives only its beats tell."""
    LIVES = "lives"
    """A process of this host that lives: the lock on the data disk keeps the two apart."""
    ENDED = "ended"
    """A process of this host that has ended."""


def this_process(directory: str) -> Tenant:
    """What this process says of itself.

    Args:
        directory: on the data disk; it must be there.

    Raises:
        OSError: it is not.
    """
    pid = os.getpid()
    return Tenant(
        host=re.sub(r"[^\x21-\x7e]", "", socket.gethostname())[:64] or "unnamed",
        pid=pid,
        boot_id=boot_id(),
        room=room() if _sees_processes(pid) else "",
        started_ticks=_started_ticks(pid),
        device=os.stat(directory).st_dev,
        doing="",
        since="",
    )


def room() -> str:
    """What all processes have in common that may be kin to this one, and no other process of its kernel has."""
    try:
        return "-".join(str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in ("pid", "net"))
    except OSError:
        return f"process-{os.getpid()}"


def _sees_processes(pid: int) -> bool:
    """Whether /proc is there, and not that of another name space, where its numbers mean other processes."""
    try:
        return os.readlink("/proc/self") == str(pid)
    except OSError:
        return False


def kinship(other: Tenant, own: Tenant) -> Kinship:
    """What a tenant is to this process: of this host only where nothing speaks against it.

    This very process is a stranger to itself: a lease that names it and that it does not know of is that of a clone,
    made while the machine ran.
    """
    same_kernel = own.boot_id != "" and other.boot_id == own.boot_id and other.device == own.device
    same_room = own.room != "" and other.room == own.room
    if not (same_kernel and same_room) or other.pid == own.pid:
        return Kinship.STRANGER
    return Kinship.LIVES if _lives(other) else Kinship.ENDED


def _lives(tenant: Tenant) -> bool:
    try:
        os.kill(tenant.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's; that it is there is known
    started_ticks = _started_ticks(tenant.pid)
    return 0 in {started_ticks, tenant.started_ticks} or started_ticks == tenant.started_ticks


def _started_ticks(pid: int) -> int:
    """When a process began; 0 where this one may not know."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[_START])
    except (OSError, ValueError, IndexError):
        return 0

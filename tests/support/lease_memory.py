"""A directory in memory that several hosts see, and hosts that can be suspended, killed, and interrupted by others."""

from __future__ import annotations

from collections.abc import Callable

from zimage_syncd.disk.tenant import Kinship, Tenant


class MemoryFiles:
    """A `LeaseFiles`; before each operation others may be let in."""

    def __init__(self, shared: dict[str, bytes], before: Callable[[], None] = lambda: None) -> None:
        self._shared = shared
        self._before = before

    def names(self) -> list[str]:
        self._before()
        return list(self._shared)

    def read(self, name: str) -> bytes | None:
        self._before()
        return self._shared.get(name)

    def create(self, name: str, data: bytes = b"") -> bool:
        self._before()
        if name in self._shared:
            return False
        self._shared[name] = data
        return True

    def remove(self, name: str) -> None:
        self._before()
        self._shared.pop(name, None)

    def refresh(self) -> None:
        self._before()


class Neighbours:
    """Which processes live: what the kernel of each host knows."""

    def __init__(self) -> None:
        self.living: set[tuple[str, int]] = set()

    def kin(self, other: Tenant, own: Tenant) -> Kinship:
        if other.host != own.host or other.pid == own.pid:
            return Kinship.STRANGER
        return Kinship.LIVES if (other.host, other.pid) in self.living else Kinship.ENDED


def tenant(host: str, pid: int) -> Tenant:
    return Tenant(host, pid, f"boot-{host}", "1-1", 1, 1, "", "")

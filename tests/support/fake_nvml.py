"""A `pynvml` that tells of GPUs that are not there: the functions that the probe calls, and their failures by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18

GIB = 2**30


class NVMLError(Exception):
    """As pynvml's: carries the number."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return {18: "Driver/library version mismatch", 4: "Insufficient Permissions"}.get(self.value, f"{self.value}")


@dataclass
class Card:
    """One GPU."""

    name: str = "NVIDIA Test"
    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    total_bytes: int = 24 * GIB
    used_bytes: int = GIB // 2
    compute: list[tuple[int, int | None]] = field(default_factory=list)
    graphics: list[tuple[int, int | None]] = field(default_factory=list)
    utilisations: list[int] = field(default_factory=lambda: [0])
    parts: list[Card] = field(default_factory=list)
    reserved_bytes: int = 0


class FakeNvml:
    """The module."""

    NVMLError = NVMLError
    NVML_ERROR_DRIVER_NOT_LOADED = NVML_ERROR_DRIVER_NOT_LOADED
    NVML_ERROR_LIBRARY_NOT_FOUND = NVML_ERROR_LIBRARY_NOT_FOUND
    nvmlMemory_v2 = 0x2000028  # noqa: N815

    def __init__(self, *cards: Card, failures: dict[str, int] | None = None) -> None:
        """Holds cards in the order of their bus, and the error number of each function that fails."""
        self.cards = cards
        self.failures = failures or {}
        self.open = 0
        self.samples = 0

    def _may(self, name: str) -> None:
        if name in self.failures:
            raise NVMLError(self.failures[name])

    def nvmlInit(self) -> None:  # noqa: N802
        self._may("init")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:  # noqa: N802
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:  # noqa: N802
        parts = [part for card in self.cards for part in card.parts]
        for device in (*self.cards, *parts):
            if device.uuid == uuid:
                return device
        raise NVMLError(NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetUUID(self, card: Card) -> str:  # noqa: N802
        return card.uuid

    def nvmlDeviceGetName(self, card: Card) -> str:  # noqa: N802
        return card.name

    def nvmlDeviceGetMigMode(self, card: Card) -> tuple[int, int]:  # noqa: N802
        if not card.parts:
            raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
        return 1, 1

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, index: int) -> Card:  # noqa: N802
        return card.parts[index]

    def nvmlDeviceGetMemoryInfo(self, card: Card, version: int = 1) -> SimpleNamespace:  # noqa: N802
        self._may(f"memory {version}")
        self._may("memory")
        free = card.total_bytes - card.reserved_bytes - card.used_bytes
        if version == self.nvmlMemory_v2:
            return SimpleNamespace(
                total=card.total_bytes, reserved=card.reserved_bytes, used=card.used_bytes, free=free
            )
        return SimpleNamespace(total=card.total_bytes, used=card.used_bytes + card.reserved_bytes, free=free)

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> SimpleNamespace:  # noqa: N802
        self._may("utilisation")
        percent = card.utilisations[min(self.samples, len(card.utilisations) - 1)]
        self.samples += 1
        return SimpleNamespace(gpu=percent, memory=0)

    def nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[SimpleNamespace]:  # noqa: N802
        self._may("processes")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card.compute]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card: Card) -> list[SimpleNamespace]:  # noqa: N802
        self._may("processes")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card.graphics]

"""Which of the machine's GPUs CUDA calls device 0. Pure.

CUDA C++ Programming Guide, "CUDA Environment Variables": CUDA_VISIBLE_DEVICES lists indices, or beginnings of UUIDs;
what follows the first entry that names nothing is not visible.
"""

from __future__ import annotations

from collections.abc import Sequence

PCI_ORDER = "PCI_BUS_ID"
"""The value of CUDA_DEVICE_ORDER by which CUDA counts as NVML does; by default the fastest device comes first."""


def first_visible(visible: str | None, uuids: Sequence[str]) -> int | None:
    """The position of CUDA's device 0.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        uuids: of all devices, `GPU-…`, in the order in which CUDA would count them.

    Returns:
        Its position in `uuids`; None where no device is visible.
    """
    if visible is None:
        return 0 if uuids else None
    entry = visible.split(",")[0].strip()
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    if not entry.startswith("GPU-"):
        return None
    meant = [position for position, uuid in enumerate(uuids) if uuid.lower().startswith(entry.lower())]
    return meant[0] if len(meant) == 1 else None

"""Who uses the GPU, as NVML tells it: memory, utilisation and processes, without torch and without a CUDA context.

It only looks. What NVML cannot tell is an answer like any other: no driver, a driver that does not fit its library,
no permission, a container that hides processes. What the answers mean is decided in `busy`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zimage_syncd.probe.conclusion import first_line
from zimage_syncd.probe.visible import PCI_ORDER, first_visible

_LIBRARY = "libnvidia-ml.so.1"
"""Comes with NVIDIA's driver, and with nothing else."""

SAMPLES = 3
"""Looks at utilisation where the first one is not quiet; NVML's own value covers the last 1/6 to 1 s."""

_Nvml = Any
"""The module `pynvml`, which has no types."""

_Handle = Any
"""Its pointer to a device."""

_BETWEEN_SAMPLES_S = 0.5
"""So that work which ended just before, such as an earlier check's, is out of NVML's value by the second sample."""

_QUIET_PERCENT = 5


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with a context on the GPU."""

    pid: int
    """As the driver counts; in a container it may name nothing that can be seen from there."""
    used_bytes: int | None
    """GPU memory; None where the driver does not tell (no permission, MIG, WSL)."""
    is_compute: bool
    """CUDA; a process that only draws, such as an X server, is none."""


@dataclass(frozen=True, slots=True)
class Look:
    """One GPU at one moment, without what this process group itself holds there."""

    name: str
    """The card's, for people."""
    total_bytes: int
    """Of its memory, without what the driver keeps for itself where it tells that."""
    free_bytes: int
    """Of its memory."""
    processes: tuple[GpuProcess, ...] = ()
    """Of others; empty also where none can be seen."""
    utilisations: tuple[int, ...] = ()
    """Percent of time in which a kernel ran, 0 to 100, in some samples; empty where the driver does not tell."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Nothing could be learned of a GPU."""

    reason: str
    """Why, for people."""


def look(
    environment: Mapping[str, str], uuid: str = "", nvml: _Nvml = None, pause: Callable[[float], None] = time.sleep
) -> Look | Unseen:
    """Looks at the GPU that CUDA calls device 0.

    Args:
        environment: decides which one that is, by CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER.
        uuid: of the device, as CUDA tells it once it is loaded, without a prefix; empty: not known.
        nvml: the module `pynvml`; None: whatever is installed.
        pause: waits between two samples, in seconds.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except Exception as error:  # noqa: BLE001 - an old or broken one may raise anything
            return _without_module(error)
    try:
        return _session(nvml, environment, uuid, pause)
    except Exception as error:  # noqa: BLE001 - whatever it is: looking must not end a check
        return Unseen(f"NVML: {first_line(error)}")


def _without_module(error: Exception) -> Unseen:
    """The smaller check: whether there is a driver at all."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return Unseen(f"no NVIDIA driver: {_LIBRARY} is not there")
    return Unseen(f"nvidia-ml-py is not usable in this Python: {first_line(error)}")


def _session(nvml: _Nvml, environment: Mapping[str, str], uuid: str, pause: Callable[[float], None]) -> Look | Unseen:
    nvml.nvmlInit()
    try:
        found = _device(nvml, environment, uuid)
        return found if isinstance(found, Unseen) else _look(nvml, found, pause)
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _look(nvml: _Nvml, handle: _Handle, pause: Callable[[float], None]) -> Look:
    total_bytes, free_bytes = _memory(nvml, handle)
    return Look(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        processes=tuple(_processes(nvml, handle)),
        utilisations=tuple(_utilisations(nvml, handle, pause)),
    )


def _memory(nvml: _Nvml, handle: _Handle) -> tuple[int, int]:
    """What there is and what of it is free, in bytes; without what the driver keeps, where it tells that."""
    with contextlib.suppress(nvml.NVMLError, AttributeError, TypeError):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
        return int(memory.total) - int(memory.reserved), int(memory.free)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return int(memory.total), int(memory.free)


def _device(nvml: _Nvml, environment: Mapping[str, str], uuid: str) -> _Handle | Unseen:
    """The handle of CUDA's device 0, or `Unseen`."""
    count = int(nvml.nvmlDeviceGetCount())
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    if f"GPU-{uuid}" in uuids:
        return _instance_of(nvml, handles[uuids.index(f"GPU-{uuid}")])
    if uuid:
        with contextlib.suppress(nvml.NVMLError):
            return nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip().startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(visible.split(",")[0].strip())
    position = first_visible(visible, uuids)
    if position is None:
        told = "" if visible is None else f", with CUDA_VISIBLE_DEVICES={visible[:100]!r}"
        return Unseen(f"{count} GPUs are there, none of them for this process{told}")
    names = {_text(nvml.nvmlDeviceGetName(handle)) for handle in handles}
    if len(names) > 1 and not _is_named(visible) and environment.get("CUDA_DEVICE_ORDER") != PCI_ORDER:
        return Unseen("several unlike GPUs, and only CUDA knows which of them it counts first")
    return _instance_of(nvml, handles[position])


def _is_named(visible: str | None) -> bool:
    """Whether devices are named by what they are, and not by their place in an order."""
    return visible is not None and visible.strip().startswith("GPU-")


def _instance_of(nvml: _Nvml, handle: _Handle) -> _Handle:
    """The device itself; where it is divided (MIG), its first instance, which is the one that CUDA takes."""
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
        if current:
            return nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
    return handle


def _processes(nvml: _Nvml, handle: _Handle) -> Iterator[GpuProcess]:
    """Those of others; a process that computes and draws is told once."""
    seen: set[int] = set()
    for kind, is_compute in (("Compute", True), ("Graphics", False)):
        try:
            listed = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses")(handle)
        except nvml.NVMLError:
            continue  # then the memory that is used has to speak
        for process in listed:
            if process.pid not in seen and not _is_ours(process.pid):
                seen.add(process.pid)
                used = process.usedGpuMemory
                yield GpuProcess(int(process.pid), None if used is None else int(used), is_compute)


def _is_ours(pid: int) -> bool:
    try:
        return os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False


def _utilisations(nvml: _Nvml, handle: _Handle, pause: Callable[[float], None]) -> Iterator[int]:
    """One sample of a GPU that is quiet, some of one that is not: a short flicker is nobody's work."""
    for number in range(SAMPLES):
        if number:
            pause(_BETWEEN_SAMPLES_S)
        try:
            percent = int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        except nvml.NVMLError:
            return  # a part of a divided GPU has none
        yield percent
        if percent <= _QUIET_PERCENT:
            return


def _text(value: str | bytes) -> str:
    """Older versions of the module answer with bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

"""What is learned of a GPU, and when its use by others counts as work. NVML is faked at its module."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import fake_nvml
from tests.support.fake_nvml import GIB, Card, FakeNvml
from zimage_syncd.probe.busy import others_work
from zimage_syncd.probe.gpu import GpuProcess, Look, Unseen, look
from zimage_syncd.probe.visible import first_visible

A, B = "GPU-aaaa1111-0000", "GPU-bbbb2222-0000"
NOT_A_PID = 2**22 + 1
"""Above what Linux gives to processes (PID_MAX_LIMIT, 2^22)."""


def seen(nvml: FakeNvml, uuid: str = "", **environment: str) -> Look | Unseen:
    found = look(environment, uuid, nvml, pause=lambda _: None)
    assert nvml.open == 0
    return found


def test_memory_processes_and_utilisation_are_told() -> None:
    card = Card("NVIDIA H200", A, 140 * GIB, 5 * GIB, [(NOT_A_PID, 4 * GIB)], [(NOT_A_PID + 1, None)], [90, 80, 70])
    assert seen(FakeNvml(card)) == Look(
        "NVIDIA H200",
        140 * GIB,
        135 * GIB,
        (GpuProcess(NOT_A_PID, 4 * GIB, is_compute=True), GpuProcess(NOT_A_PID + 1, None, is_compute=False)),
        (90, 80, 70),
    )


def test_what_the_driver_keeps_for_itself_is_nobody_s() -> None:
    card = Card(total_bytes=140 * GIB, used_bytes=0, reserved_bytes=3 * GIB)
    found = seen(FakeNvml(card))
    assert found == Look("NVIDIA Test", 137 * GIB, 137 * GIB, (), (0,))
    # A driver that does not tell them apart yet.
    older = seen(FakeNvml(card, failures={"memory 33554472": 13}))
    assert older == Look("NVIDIA Test", 140 * GIB, 137 * GIB, (), (0,))


def test_a_process_that_computes_and_draws_is_told_once() -> None:
    card = Card(compute=[(NOT_A_PID, GIB)], graphics=[(NOT_A_PID, GIB)])
    found = seen(FakeNvml(card))
    assert isinstance(found, Look)
    assert found.processes == (GpuProcess(NOT_A_PID, GIB, is_compute=True),)


def test_the_own_process_group_is_left_out_and_others_are_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as other:
        found = seen(FakeNvml(Card(compute=[(os.getpid(), GIB), (other.pid, 3 * GIB)])))
        assert other.stdin is not None
        other.stdin.close()
    assert isinstance(found, Look)
    assert [process.pid for process in found.processes] == [other.pid]


def test_a_quiet_gpu_is_asked_once_and_a_busy_one_again() -> None:
    quiet, flicker = FakeNvml(Card(utilisations=[0])), FakeNvml(Card(utilisations=[100, 3]))
    seen(quiet)
    seen(flicker)
    assert (quiet.samples, flicker.samples) == (1, 2)


@pytest.mark.parametrize(
    "number",
    [
        fake_nvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        fake_nvml.NVML_ERROR_DRIVER_NOT_LOADED,
        fake_nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        fake_nvml.NVML_ERROR_NO_PERMISSION,
    ],
)
def test_a_library_that_cannot_be_asked_is_an_answer(number: int) -> None:
    found = seen(FakeNvml(failures={"init": number}))
    assert found == Unseen(f"NVML: NVMLError: {fake_nvml.NVMLError(number)}")


def test_what_cannot_be_told_leaves_the_rest() -> None:
    denied = fake_nvml.NVML_ERROR_NO_PERMISSION
    found = seen(FakeNvml(Card(compute=[(1, 1)]), failures={"processes": denied, "utilisation": denied}))
    assert found == Look("NVIDIA Test", 24 * GIB, 24 * GIB - GIB // 2)
    assert seen(FakeNvml(Card(), failures={"memory": denied})) == Unseen("NVML: NVMLError: Insufficient Permissions")


def test_a_module_that_is_too_old_or_broken_is_an_answer() -> None:
    nvml = FakeNvml(Card())
    nvml.nvmlDeviceGetMemoryInfo = None  # type: ignore[method-assign,assignment]
    found = seen(nvml)
    assert isinstance(found, Unseen)
    assert "TypeError" in found.reason
    assert isinstance(look({}, "", object()), Unseen)


def test_without_the_module_the_driver_s_library_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = look({})
    assert isinstance(found, Unseen)
    assert ("no NVIDIA driver" in found.reason) is not os.path.exists("/proc/driver/nvidia")


VISIBLE = [
    (None, 0), ("0", 0), ("1", 1), (" 1 , 0", 1), ("1,9", 1), ("9,0", None), ("", None), ("-1", None), ("-1,0", None),
    ("NoDevFiles", None), (A, 0), ("GPU-bbbb", 1), ("gpu-bbbb", None), ("GPU-BBBB", 1), ("GPU-", None), ("GPU-c", None),
]  # fmt: skip


@pytest.mark.parametrize(("visible", "expected"), VISIBLE)
def test_the_first_visible_device_is_found(visible: str | None, expected: int | None) -> None:
    assert first_visible(visible, [A, B]) == expected


def test_without_devices_none_is_visible() -> None:
    assert first_visible(None, []) is None
    assert first_visible("0", []) is None


def test_the_environment_chooses_the_card() -> None:
    nvml = FakeNvml(Card(uuid=A, total_bytes=GIB), Card(uuid=B, total_bytes=2 * GIB))

    def total(**environment: str) -> int:
        found = seen(nvml, **environment)
        assert isinstance(found, Look)
        return found.total_bytes

    assert total() == GIB
    assert total(CUDA_VISIBLE_DEVICES="1") == 2 * GIB
    assert total(CUDA_VISIBLE_DEVICES="GPU-bbbb") == 2 * GIB
    hidden = seen(nvml, CUDA_VISIBLE_DEVICES="")
    assert hidden == Unseen("2 GPUs are there, none of them for this process, with CUDA_VISIBLE_DEVICES=''")


def test_unlike_cards_are_told_apart_by_what_cuda_says() -> None:
    nvml = FakeNvml(Card("slow", A), Card("fast", B))
    unknown = seen(nvml)
    assert unknown == Unseen("several unlike GPUs, and only CUDA knows which of them it counts first")
    for environment in ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_VISIBLE_DEVICES": B}):
        found = seen(nvml, **environment)
        assert isinstance(found, Look)
        assert found.name == "fast"
    asked = seen(nvml, uuid=B.removeprefix("GPU-"))
    assert isinstance(asked, Look)
    assert asked.name == "fast"
    assert isinstance(seen(nvml, uuid="of-another-machine"), Unseen)


def test_of_a_divided_card_the_instance_is_looked_at() -> None:
    parts = [Card("part 0", "MIG-0", 10 * GIB), Card("part 1", "MIG-1", 20 * GIB)]
    nvml = FakeNvml(Card(uuid=A, parts=parts))
    first, named = seen(nvml), seen(nvml, CUDA_VISIBLE_DEVICES="MIG-1")
    assert isinstance(first, Look)
    assert isinstance(named, Look)
    assert (first.total_bytes, named.total_bytes) == (10 * GIB, 20 * GIB)
    told = seen(nvml, uuid="1")
    assert isinstance(told, Look)
    assert told.name == "part 1"
    assert seen(nvml, CUDA_VISIBLE_DEVICES="MIG-9") == Unseen("NVML: NVMLError: 6")


def at(*processes: GpuProcess, used: float = 0.5, utilisations: tuple[int, ...] = (0,), total: int = 24) -> Look:
    return Look("card", total * GIB, int((total - used) * GIB), processes, utilisations)


def compute(gib: float | None) -> GpuProcess:
    return GpuProcess(7, None if gib is None else int(gib * GIB), is_compute=True)


DESKTOP = GpuProcess(8, 3 * GIB, is_compute=False)

CASES = {
    "nobody": (at(), 1, ""),
    "a loaded model": (at(compute(4), used=4.5), 1, "process 7 holds 4.3 GB of GPU memory"),
    "two": (at(compute(4), compute(2), used=6), 1, "process 7 holds 4.3 GB of GPU memory, and 1 more processes"),
    "a bare context": (at(compute(0.5), used=1), 1, ""),
    "a bare context in the way": (at(compute(0.5), used=1), 24, "process 7 holds 0.5 GB of GPU memory"),
    "a desktop": (at(DESKTOP, used=3.5, utilisations=(20, 10, 12)), 1, ""),
    "a desktop in the way": (at(DESKTOP, used=3.5), 24, ""),
    "a game": (at(DESKTOP, used=3.5, utilisations=(95, 97, 90)), 1, "the GPU is used 95 % of the time"),
    "memory of nobody": (at(used=4), 1, "4.3 GB of GPU memory are held by processes that cannot be seen from here"),
    "a process without a number": (
        at(compute(None), used=4), 1, "4.3 GB of GPU memory are held by processes that cannot be seen from here",
    ),
    "the driver's own": (at(used=1, total=140), 1, ""),
    "a short flicker": (at(utilisations=(100, 3)), 1, ""),
    "a single spike": (at(utilisations=(60, 20, 3)), 1, ""),
    "no utilisation told": (at(utilisations=()), 1, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_work_of_others_is_told_and_a_desktop_is_none(case: str) -> None:
    found, needed_gib, expected = CASES[case]
    assert others_work(found, needed_gib * GIB) == expected

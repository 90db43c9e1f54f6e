"""`when_busy`, carried out: what becomes of a check while others use the GPU. NVML is faked at its module."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.fake_nvml import GIB, Card, FakeNvml
from zimage_syncd.model.health import HealthLevel, HealthOutcome, HealthRequest, WhenBusy
from zimage_syncd.probe import gpu
from zimage_syncd.probe.conclusion import Concluded, Progress
from zimage_syncd.probe.need import ComponentNeed, Need
from zimage_syncd.probe.yielding import LOOK_EVERY_S, Senses, settle

NEED = Need((ComponentNeed("transformer", 3 * GIB, 0, GIB // 8),))
"""6 GiB in bfloat16."""

SOMEBODY = 2**22 + 1
WORK = "NVIDIA Test is busy: process 4194305 holds 10.7 GB of GPU memory"


def busy_card(free_gib: int = 14) -> Card:
    return Card(used_bytes=(24 - free_gib) * GIB, compute=[(SOMEBODY, 10 * GIB)])


class Bench:
    """A GPU that others leave after some looks, and a clock that only waiting moves."""

    def __init__(self, card: Card, quiet_after: int = 10**6) -> None:
        self.nvml = FakeNvml(card)
        self.quiet_after = quiet_after
        self.looks = 0
        self.pauses: list[float] = []
        self.progress = Progress()

    def look(self) -> gpu.Look | gpu.Unseen:
        self.looks += 1
        if self.looks > self.quiet_after:
            return gpu.look({}, "", FakeNvml(Card()))
        return gpu.look({}, "", self.nvml, pause=lambda _: None)

    def settle(self, request: HealthRequest) -> HealthRequest:
        senses = Senses(self.look, host_free_bytes=lambda: 64 * GIB, sleep=self.pauses.append)
        return settle(request, NEED, self.progress, senses)

    def refused(self, request: HealthRequest) -> str:
        with pytest.raises(Concluded) as caught:
            self.settle(request)
        assert caught.value.outcome is HealthOutcome.GPU_BUSY
        return caught.value.detail


REQUEST = HealthRequest("/cache/x", "huggingface", "a/b", "main", size_px=512, steps=4)


@pytest.mark.parametrize("policy", WhenBusy)
def test_a_free_gpu_is_used_as_it_was_asked_for(policy: WhenBusy) -> None:
    bench, request = Bench(Card()), replace(REQUEST, when_busy=policy)
    assert bench.settle(request) == request
    assert (bench.looks, bench.progress.remarks) == (1, [])


def test_wait_goes_on_when_the_others_have_ended() -> None:
    bench = Bench(busy_card(), quiet_after=3)
    assert bench.settle(replace(REQUEST, wait_s=60)).device == "auto"
    assert bench.pauses == [LOOK_EVERY_S] * 3
    result = bench.progress.result(HealthOutcome.OK, "")
    assert dict(result.timings_s)["wait"] == 3 * LOOK_EVERY_S


def test_wait_has_an_end_and_says_how_long_it_was() -> None:
    bench = Bench(busy_card())
    assert bench.refused(replace(REQUEST, wait_s=10)) == f"{WORK}; waited 10 s"
    assert sum(bench.pauses) == 10
    # Asked again before loading, nothing is left to wait.
    assert bench.refused(replace(REQUEST, wait_s=10)) == f"{WORK}; waited 10 s"
    assert sum(bench.pauses) == 10


def test_a_long_wait_is_one_stage() -> None:
    bench = Bench(busy_card())
    bench.refused(replace(REQUEST, wait_s=3600))
    stages = bench.progress.result(HealthOutcome.GPU_BUSY, "").timings_s
    assert stages[0] == ("wait", 3600.0)
    assert [name for name, _ in stages] == ["wait", "total"]


def test_skip_ends_at_once() -> None:
    bench = Bench(busy_card())
    assert bench.refused(replace(REQUEST, when_busy=WhenBusy.SKIP, wait_s=60)) == WORK
    assert bench.pauses == []


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (HealthLevel.GENERATE, HealthLevel.AUTO),
        (HealthLevel.AUTO, HealthLevel.AUTO),
        (HealthLevel.LOAD, HealthLevel.LOAD),
    ],
)
def test_cpu_does_what_the_processor_can(level: HealthLevel, expected: HealthLevel) -> None:
    bench = Bench(busy_card())
    request = bench.settle(replace(REQUEST, when_busy=WhenBusy.CPU, level=level))
    assert (request.device, request.level) == ("cpu", expected)
    assert bench.progress.remarks == [f"{WORK}; done on the processor"]
    assert bench.settle(request) == request
    assert bench.looks == 1


def test_smaller_draws_less_beside_the_others_and_says_so_once() -> None:
    bench = Bench(busy_card())
    request = bench.settle(replace(REQUEST, when_busy=WhenBusy.SMALLER))
    assert (request.size_px, request.steps, request.device) == (256, 2, "auto")
    assert bench.progress.spared_bytes == GIB
    assert bench.settle(request) == request
    assert bench.progress.remarks == [f"{WORK}; a smaller picture beside it (256 px, 2 steps)"]


def test_smaller_never_draws_more_than_was_asked_for() -> None:
    request = Bench(busy_card()).settle(replace(REQUEST, when_busy=WhenBusy.SMALLER, size_px=64, steps=1))
    assert (request.size_px, request.steps) == (64, 1)


def test_smaller_is_refused_where_nothing_fits_beside_the_others() -> None:
    bench = Bench(busy_card(free_gib=2))
    assert "bytes are needed at least, 2147483648 are free" in bench.refused(
        replace(REQUEST, when_busy=WhenBusy.SMALLER)
    )


def test_on_the_processor_nobody_asks_for_the_gpu() -> None:
    bench, request = Bench(busy_card()), replace(REQUEST, device="cpu", when_busy=WhenBusy.SKIP)
    assert bench.settle(request) == request
    assert bench.looks == 0


def test_what_cannot_be_seen_is_left_to_torch() -> None:
    bench = Bench(busy_card())
    bench.nvml.failures["init"] = 18
    assert bench.settle(replace(REQUEST, when_busy=WhenBusy.SKIP)).device == "auto"


def test_a_context_that_is_in_the_way_is_waited_for_and_one_that_is_not_is_none() -> None:
    small = Card(used_bytes=GIB, compute=[(SOMEBODY, GIB // 2)])
    assert Bench(small).settle(replace(REQUEST, when_busy=WhenBusy.SKIP)).device == "auto"
    tight = Card(total_bytes=8 * GIB, used_bytes=3 * GIB // 2, compute=[(SOMEBODY, GIB // 2)])
    assert "holds 0.5 GB" in Bench(tight).refused(replace(REQUEST, when_busy=WhenBusy.SKIP))

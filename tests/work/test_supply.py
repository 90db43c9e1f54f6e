"""Supply: which source is asked, for how long, and when another one is."""

from __future__ import annotations

import pytest

from tests.support.clock import HeldClock
from tests.support.site import BytesSource
from zimage_syncd.model.failures import BlobMissing, StoreUnreachable
from zimage_syncd.work.supply import Supply

MB = 10**6
GONE = StoreUnreachable("near", "unplugged")


class StrainedSource(BytesSource):
    """A source that counts what it was asked too much."""

    strain = 0

    def setbacks(self) -> int:
        return self.strain


@pytest.fixture
def near() -> StrainedSource:
    return StrainedSource("near", {})


@pytest.fixture
def far() -> StrainedSource:
    return StrainedSource("far", {})


@pytest.fixture
def supply(near: StrainedSource, far: StrainedSource, clock: HeldClock) -> Supply:
    return Supply([near, far], clock, workers=4, most=16)


def window(supply: Supply, clock: HeldClock, count_bytes: int) -> None:
    clock.move(1.0)
    supply.took_piece(count_bytes)


def names(supply: Supply) -> list[str | None]:
    """Of the sources of all workers, and of one more."""
    sources = [supply.source_for(worker) for worker in range(supply.workers + 1)]
    return [None if source is None else source.name for source in sources]


def test_all_begin_with_the_nearest(supply: Supply) -> None:
    assert names(supply) == ["near"] * 4 + [None]


def test_more_workers_are_kept_while_the_rate_grows(supply: Supply, clock: HeldClock) -> None:
    for _ in range(20):
        window(supply, clock, supply.workers * MB)
    assert supply.workers == 16


def test_a_later_source_joins_where_it_adds_speed_and_not_where_it_does_not(
    near: StrainedSource, far: StrainedSource, clock: HeldClock
) -> None:
    for gain, joins in ((3, True), (0, False)):
        supply = Supply([near, far], clock, workers=4, most=16)
        for _ in range(40):
            of = names(supply)
            window(supply, clock, (min(of.count("near"), 4) + gain * of.count("far")) * MB)
        assert ("far" in names(supply)) == joins


def test_strain_halves_the_workers_also_while_nothing_arrives(
    supply: Supply, near: StrainedSource, clock: HeldClock
) -> None:
    near.strain = 3
    window(supply, clock, 0)
    assert names(supply) == ["near"] * 2 + [None]
    # The same setbacks are not counted twice.
    window(supply, clock, MB)
    assert supply.workers == 2


def test_three_failures_in_a_row_end_a_source_and_a_good_chunk_between_them_does_not(
    supply: Supply, near: StrainedSource
) -> None:
    supply.failed(near, GONE)
    supply.failed(near, GONE)
    supply.took_chunk(near, MB)
    supply.failed(near, GONE)
    supply.failed(near, GONE)
    assert supply.is_usable(near)
    assert supply.failed(near, GONE)
    assert not supply.is_usable(near)
    assert [source.name for source in supply.in_order()] == ["far"]
    assert names(supply) == ["far"] * 4 + [None]
    assert supply.last_failure is GONE


def test_a_blob_that_is_not_there_is_no_failure_of_the_source(supply: Supply, near: StrainedSource) -> None:
    for _ in range(10):
        assert not supply.failed(near, BlobMissing("x"))
    assert supply.is_usable(near)
    assert supply.last_failure is None


def test_a_distrusted_source_is_asked_last_and_gets_no_workers(supply: Supply, near: StrainedSource) -> None:
    supply.distrust(near)
    assert [source.name for source in supply.in_order()] == ["far", "near"]
    assert names(supply) == ["far"] * 4 + [None]


def test_a_distrusted_source_is_read_from_where_it_is_the_only_one_left(
    supply: Supply, near: StrainedSource, far: StrainedSource
) -> None:
    supply.distrust(near)
    for _ in range(3):
        supply.failed(far, GONE)
    assert [source.name for source in supply.in_order()] == ["near"]
    assert names(supply) == ["near"] * 4 + [None]


def test_where_no_source_is_left_workers_go_on_without_one(supply: Supply, near: BytesSource, far: BytesSource) -> None:
    for source in (near, far):
        for _ in range(3):
            supply.failed(source, GONE)
    assert supply.in_order() == []
    assert set(names(supply)) == {None}
    assert supply.workers >= 1


def test_a_read_is_late_where_another_source_is_better_only(
    supply: Supply, near: StrainedSource, far: StrainedSource, clock: HeldClock
) -> None:
    began_s = clock.monotonic_s()
    clock.move(4.9)
    supply.took_piece(400 * MB)
    assert not supply.is_late(near, began_s, 0)  # however slow, too early to say
    clock.move(0.2)
    assert supply.is_late(near, began_s, 5 * MB)
    assert not supply.is_late(near, began_s, 50 * MB)
    supply.distrust(far)
    assert not supply.is_late(near, began_s, 5 * MB)
    assert supply.is_late(far, began_s, 5 * MB)


def test_a_read_is_not_late_where_nobody_else_could_give_it(
    supply: Supply, near: StrainedSource, far: StrainedSource, clock: HeldClock
) -> None:
    clock.move(60)
    assert supply.is_late(near, 0, 0)
    for _ in range(3):
        supply.failed(far, GONE)
    assert not supply.is_late(near, 0, 0)


def test_where_all_workers_wait_for_one_source_it_is_late(
    supply: Supply, near: StrainedSource, clock: HeldClock
) -> None:
    """Late was what is slower than the others; where nothing came at all, nothing was."""
    clock.move(30)
    assert supply.is_late(near, 0, 0)


def test_a_failure_is_worth_telling_where_another_source_has_to_give_the_chunk(
    supply: Supply, near: StrainedSource, clock: HeldClock
) -> None:
    assert supply.failed(near, GONE)
    alone = Supply([near], clock, workers=2, most=4)
    assert [alone.failed(near, GONE), alone.failed(near, GONE), alone.failed(near, GONE)] == [False, False, True]


def order(supply: Supply, sha256: str) -> list[str]:
    return [source.name for source in supply.in_order(sha256)]


def test_the_third_corrupt_chunk_of_a_file_makes_its_source_the_last_one_asked_for_that_file(
    supply: Supply, near: StrainedSource
) -> None:
    supply.served_wrong(near, "one")
    supply.served_wrong(near, "one")
    assert order(supply, "one") == ["near", "far"]
    supply.served_wrong(near, "one")
    assert order(supply, "one") == ["far", "near"]
    assert order(supply, "two") == ["near", "far"]
    assert names(supply) == ["near"] * 4 + [None]


def test_a_file_that_ends_early_or_is_not_there_is_asked_for_elsewhere_at_once(
    supply: Supply, near: StrainedSource, far: StrainedSource
) -> None:
    supply.served_wrong(near, "short", ends=True)
    supply.lacks(near, "absent")
    assert order(supply, "short") == order(supply, "absent") == ["far", "near"]
    assert order(supply, "other") == ["near", "far"]
    assert supply.is_last(near, "short")
    assert not supply.is_last(far, "short")


def test_the_third_file_with_corrupt_chunks_makes_a_source_the_last_one_asked(
    supply: Supply, near: StrainedSource
) -> None:
    for name in ("one", "two"):
        supply.served_wrong(near, name, ends=True)
    for name in ("absent 1", "absent 2", "absent 3"):
        supply.lacks(near, name)
    assert order(supply, "other") == ["near", "far"]
    supply.served_wrong(near, "three")
    assert order(supply, "other") == ["far", "near"]
    assert names(supply) == ["far"] * 4 + [None]


def test_a_reserved_source_is_not_read_from_for_speed_alone(near: StrainedSource, clock: HeldClock) -> None:
    class Hub(StrainedSource):
        def is_reserved(self) -> bool:
            return True

    supply = Supply([near, Hub("hub", {})], clock, workers=2, most=32)
    for _ in range(40):
        window(supply, clock, MB)
    assert "hub" not in names(supply)
    for _ in range(3):
        supply.failed(near, GONE)
    assert "hub" in names(supply)

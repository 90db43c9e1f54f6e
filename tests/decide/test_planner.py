"""What a cycle does: a table of stories, and rules that hold for every verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_syncd.decide.detect import detect
from zimage_syncd.decide.planner import Step, plan_cycle
from zimage_syncd.model.observation import Identity, LinkFacts, LinkKind, Observation, SystemMark
from zimage_syncd.model.verdict import Boot, CacheState, DataState, LinkState, SystemState, Verdict
from zimage_syncd.report.detection_page import STORIES, USUAL

R, L, T, F, V, P = Step.REMEMBER, Step.LINK, Step.TAKE_IN, Step.RESTORE, Step.VERIFY, Step.PROVE

EXPECTED = {
    "The daemon was started again": [R],
    "The machine was started again": [R, V, P],
    "First start ever, a cache is there": [R, V, P],
    "First start ever, nothing is there": [R, L, F, V, P],
    "The system disk was replaced": [R, L, V, P],
    "A container was started with a fresh root": [R, L, V, P],
    "The system disk was replaced by a clone of another machine's": [R, V, P],
    "The system disk was put back to an older state": [R, V, P],
    "System disk and data disk were replaced": [R, L, F, V, P],
    "The data disk was replaced by an empty one": [R, L, F, V, P],
    "Nothing is mounted where the data disk belongs": [Step.WAIT],
    "The system disk was replaced, the data disk is not mounted": [Step.WAIT],
    "The data disk is mounted read-only": [Step.WAIT],
    "The same, after the system disk was replaced": [L, Step.WAIT],
    "Another host uses the data disk": [Step.WAIT],
    "The same, after the system disk was replaced, too": [L, Step.WAIT],
    "The data disk is full": [R],
    "The data disk was put back to an older state": [R, V, P],
    "The data disk's content was copied to another file system": [R, V, P],
    "The disk of another cache is mounted": [Step.ASK],
    "The identity cannot be understood": [Step.ASK],
    "Somebody deleted the cache": [R, L, F, V, P],
    "Somebody deleted a part of the cache": [R, F, V, P],
    "The cache link was lost": [R, L],
    "A real directory lies where the link belongs": [R, T, V, P],
    "The same, and the cache is gone": [R, T, F, V, P],
    "A run was killed while it took that directory in": [R, T, V, P],
    "The link leads elsewhere": [R, L],
    "The cache directory itself is there, by another mount": [R],
    "The link dangles, the cache is gone": [R, L, F, V, P],
}


def steps(seen: Observation, *, has_stores: bool = True) -> list[Step]:
    return [planned.step for planned in plan_cycle(detect(seen), has_stores=has_stores)]


@pytest.mark.parametrize("title", [title for title, _ in STORIES])
def test_each_story_has_its_steps(title: str) -> None:
    assert steps(replace(USUAL, **dict(STORIES)[title])) == EXPECTED[title]


def test_where_no_store_is_configured_it_is_said_that_something_is_missing() -> None:
    gone = replace(USUAL, cache_present=False, lacking=None)
    assert steps(gone, has_stores=False) == [R, L, Step.REPORT]
    assert steps(replace(USUAL, lacking=("a/b",)), has_stores=False) == [R, Step.REPORT, V, P]
    directory = (LinkFacts("/l", LinkKind.DIRECTORY),)
    assert steps(replace(gone, links=directory), has_stores=False) == [R, T, V, P], "what is taken in may be all"


VERDICTS = st.builds(
    Verdict,
    system=st.sampled_from(SystemState),
    data=st.frozensets(st.sampled_from(DataState), min_size=1),
    cache=st.sampled_from(CacheState),
    links=st.lists(st.tuples(st.just("/l"), st.sampled_from(LinkState)), max_size=2).map(tuple),
    evidence=st.just(()),
    boot=st.sampled_from(Boot),
)


@given(VERDICTS, st.booleans())
def test_every_verdict_has_a_plan_that_is_safe(verdict: Verdict, has_stores: bool) -> None:
    planned = [item.step for item in plan_cycle(verdict, has_stores=has_stores)]
    assert planned
    assert len(set(planned)) == len(planned)
    assert all(item.reason for item in plan_cycle(verdict, has_stores=has_stores))
    if not verdict.may_write:
        assert set(planned) <= {Step.WAIT, Step.ASK, Step.LINK}
    if verdict.data & {DataState.MISSING, DataState.FOREIGN, DataState.UNKNOWN}:
        assert len(planned) == 1, "who does not know the disk does nothing with it"
    if Step.RESTORE in planned:
        assert has_stores
        assert verdict.cache in {CacheState.GONE, CacheState.PARTIAL}
        assert planned.index(Step.VERIFY) > planned.index(Step.RESTORE)
    states = {state for _, state in verdict.links}
    if verdict.may_write and states & {LinkState.LOST, LinkState.DANGLING, LinkState.ELSEWHERE}:
        assert Step.LINK in planned
    if verdict.may_write and states & {LinkState.REAL_DIRECTORY, LinkState.HALF_TAKEN}:
        assert Step.TAKE_IN in planned
        assert planned.index(Step.VERIFY) > planned.index(Step.TAKE_IN)
    if verdict.may_write and verdict.system is SystemState.NEW and verdict.cache is not CacheState.GONE:
        assert planned.index(Step.PROVE) > planned.index(Step.VERIFY)


OBSERVATIONS = st.builds(
    Observation,
    cache_dir=st.just("/mnt/data/cache"),
    cache_real=st.just("/mnt/data/cache"),
    cache_present=st.booleans(),
    cache_empty=st.booleans(),
    mount=st.sampled_from(["", "/mnt/data"]),
    mounted=st.booleans(),
    read_only=st.booleans(),
    free_bytes=st.sampled_from([0, 10**12]),
    total_bytes=st.just(10**12),
    identity=st.none()
    | st.builds(
        Identity,
        cache_id=st.sampled_from(["cache-1", "cache-2"]),
        system_mark=st.sampled_from(["", "mark-1", "mark-2"]),
        counter=st.integers(0, 3),
    ),
    mark=st.none()
    | st.builds(
        SystemMark,
        mark=st.sampled_from(["mark-1", "mark-2"]),
        cache_id=st.sampled_from(["cache-1", "cache-2"]),
        counter=st.integers(0, 3),
        boot_id=st.sampled_from(["", "boot-1"]),
        file_system=st.sampled_from([0, 1]),
    ),
    expected_id=st.sampled_from(["", "cache-1"]),
    links=st.lists(
        st.builds(LinkFacts, path=st.just("/l"), kind=st.sampled_from(LinkKind), resolved=st.just("/x")), max_size=2
    ).map(tuple),
    in_use=st.sampled_from(["", "held by process 7 on b"]),
    identity_trouble=st.sampled_from(["", "damaged"]),
    boot_id=st.sampled_from(["", "boot-1", "boot-2"]),
    file_system=st.sampled_from([0, 1, 2]),
    lacking=st.sampled_from([None, (), ("a/b",)]),
)


@given(OBSERVATIONS, st.booleans())
def test_every_observation_has_a_verdict_and_a_plan(seen: Observation, has_stores: bool) -> None:
    verdict = detect(seen)
    assert verdict.data
    assert plan_cycle(verdict, has_stores=has_stores)
    if seen.mount and not seen.mounted and seen.identity is None:
        assert steps(seen, has_stores=has_stores) == [Step.WAIT], "nothing is ever written into a bare mount point"
    if seen.expected_id and seen.identity is not None and seen.identity.cache_id != seen.expected_id:
        assert steps(seen, has_stores=has_stores) == [Step.ASK]
    if seen.in_use:
        assert set(steps(seen, has_stores=has_stores)) <= {Step.WAIT, Step.ASK, Step.LINK}, "nothing is written"
    if verdict.data <= {DataState.HERE} and verdict.system is not SystemState.SAME:
        assert verdict.evidence or verdict.system is SystemState.FIRST

"""What happened to the disks: a table, and a search for an observation without a verdict."""

from __future__ import annotations

import itertools

import pytest

from zimage_syncd.decide.detect import detect
from zimage_syncd.model.observation import Identity, LinkFacts, LinkKind, Observation, SystemMark
from zimage_syncd.model.verdict import Boot, CacheState, DataState, LinkState, SystemState

HERE = frozenset({DataState.HERE})


def seen(**changes: object) -> Observation:
    facts: dict[str, object] = {
        "cache_dir": "/mnt/data/cache",
        "cache_real": "/mnt/data/cache",
        "cache_present": True,
        "cache_empty": False,
        "mount": "/mnt/data",
        "mounted": True,
        "read_only": False,
        "free_bytes": 10**12,
        "total_bytes": 10**13,
        "identity": Identity("cache-1", "mark-1", 5),
        "mark": SystemMark("mark-1", "cache-1", 5),
        "expected_id": "",
        "links": (),
    }
    return Observation(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "system", "data", "cache"),
    [
        ({}, SystemState.SAME, HERE, CacheState.PRESENT),
        ({"mark": None}, SystemState.NEW, HERE, CacheState.PRESENT),
        ({"mark": SystemMark("mark-0", "cache-1", 5)}, SystemState.NEW, HERE, CacheState.PRESENT),
        ({"mark": SystemMark("mark-1", "cache-1", 3)}, SystemState.ROLLED_BACK, HERE, CacheState.PRESENT),
        (
            {"mark": SystemMark("mark-1", "cache-1", 9)},
            SystemState.SAME,
            HERE | {DataState.ROLLED_BACK},
            CacheState.PRESENT,
        ),
        ({"mark": None, "identity": None}, SystemState.FIRST, {DataState.EMPTY}, CacheState.PRESENT),
        ({"identity": None, "identity_trouble": "no JSON"}, SystemState.SAME, {DataState.UNKNOWN}, CacheState.PRESENT),
        (
            {"identity": None, "identity_trouble": "no JSON", "mounted": False},
            SystemState.SAME,
            {DataState.MISSING},
            CacheState.UNKNOWN,
        ),
        ({"identity": Identity("cache-1", "", 0), "mark": None}, SystemState.FIRST, HERE, CacheState.PRESENT),
        ({"mounted": False, "identity": None}, SystemState.SAME, {DataState.MISSING}, CacheState.UNKNOWN),
        ({"mounted": False}, SystemState.SAME, HERE, CacheState.PRESENT),
        ({"expected_id": "cache-2"}, SystemState.SAME, {DataState.FOREIGN}, CacheState.UNKNOWN),
        ({"cache_present": False}, SystemState.SAME, HERE, CacheState.GONE),
        ({"cache_empty": True}, SystemState.SAME, HERE, CacheState.GONE),
        ({"lacking": ()}, SystemState.SAME, HERE, CacheState.WHOLE),
        ({"lacking": ("a/b",)}, SystemState.SAME, HERE, CacheState.PARTIAL),
        ({"lacking": ("a/b",), "cache_empty": True}, SystemState.SAME, HERE, CacheState.GONE),
        (
            {"mark": SystemMark("mark-1", "cache-1", 5, "", 7), "file_system": 8},
            SystemState.SAME,
            HERE | {DataState.MOVED},
            CacheState.PRESENT,
        ),
        ({"mark": SystemMark("mark-1", "cache-1", 5, "", 7)}, SystemState.SAME, HERE, CacheState.PRESENT),
        (
            {"mark": SystemMark("mark-2", "cache-2", 5, "", 7), "file_system": 8},
            SystemState.NEW,
            HERE,
            CacheState.PRESENT,
        ),
        ({"read_only": True}, SystemState.SAME, HERE | {DataState.READ_ONLY}, CacheState.PRESENT),
        ({"free_bytes": 0}, SystemState.SAME, HERE | {DataState.FULL}, CacheState.PRESENT),
        ({"in_use": "by b"}, SystemState.SAME, HERE | {DataState.IN_USE}, CacheState.PRESENT),
        ({"in_use": "by b", "mark": None}, SystemState.NEW, HERE | {DataState.IN_USE}, CacheState.PRESENT),
        (
            {"in_use": "by b", "mark": None, "identity": None},
            SystemState.FIRST,
            {DataState.EMPTY, DataState.IN_USE},
            CacheState.PRESENT,
        ),
        ({"in_use": "by b", "expected_id": "cache-2"}, SystemState.SAME, {DataState.FOREIGN}, CacheState.UNKNOWN),
        ({"in_use": "by b", "read_only": True}, SystemState.SAME, HERE | {DataState.READ_ONLY}, CacheState.PRESENT),
    ],
)
def test_each_story_has_its_verdict(
    changes: dict[str, object], system: SystemState, data: set[DataState], cache: CacheState
) -> None:
    verdict = detect(seen(**changes))
    assert (verdict.system, set(verdict.data), verdict.cache) == (system, set(data), cache)


@pytest.mark.parametrize(
    ("remembered", "found", "boot"),
    [("a", "a", Boot.SAME), ("a", "b", Boot.NEW), ("", "b", Boot.UNKNOWN), ("a", "", Boot.UNKNOWN)],
)
def test_a_machine_that_was_started_is_told_from_a_daemon_that_was(remembered: str, found: str, boot: Boot) -> None:
    assert detect(seen(mark=SystemMark("mark-1", "cache-1", 5, remembered), boot_id=found)).boot is boot


def test_nothing_is_written_to_a_missing_foreign_or_read_only_disk_or_to_another_hosts() -> None:
    assert detect(seen()).may_write
    for changes in (
        {"mounted": False, "identity": None},
        {"expected_id": "other"},
        {"read_only": True},
        {"in_use": "held by process 7 on b"},
    ):
        assert not detect(seen(**changes)).may_write


def test_who_uses_the_disk_is_evidence_and_told_as_the_obstacle() -> None:
    verdict = detect(seen(in_use="held by process 7 on b"))
    assert verdict.evidence == ("held by process 7 on b",)
    assert verdict.obstacle == "the data disk is here, in use by another host; held by process 7 on b"
    assert detect(seen()).obstacle == ""
    assert detect(seen(read_only=True)).obstacle == "the data disk is here, read-only"


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (LinkFacts("/l", LinkKind.ABSENT), LinkState.LOST),
        (LinkFacts("/l", LinkKind.EMPTY_DIRECTORY), LinkState.LOST),
        (LinkFacts("/l", LinkKind.DIRECTORY), LinkState.REAL_DIRECTORY),
        (LinkFacts("/l", LinkKind.CACHE), LinkState.GOOD),
        (LinkFacts("/l", LinkKind.SYMLINK, "x", "/mnt/data/cache"), LinkState.GOOD),
        (LinkFacts("/l", LinkKind.SYMLINK, "x", "/elsewhere"), LinkState.ELSEWHERE),
        (LinkFacts("/l", LinkKind.SYMLINK, "x", "/mnt/data/cache", has_aside=True), LinkState.HALF_TAKEN),
        (LinkFacts("/l", LinkKind.SYMLINK, "x", "/elsewhere", has_aside=True), LinkState.ELSEWHERE),
    ],
)
def test_each_link_has_its_state(facts: LinkFacts, state: LinkState) -> None:
    assert detect(seen(links=(facts,))).links == (("/l", state),)


def test_a_good_link_to_a_missing_cache_dangles() -> None:
    link = LinkFacts("/l", LinkKind.SYMLINK, "x", "/mnt/data/cache")
    assert detect(seen(links=(link,), cache_present=False)).links == (("/l", LinkState.DANGLING),)


def test_every_combination_has_a_verdict() -> None:
    marks = [None, SystemMark("mark-1", "cache-1", 5), SystemMark("mark-2", "cache-2", 9)]
    identities = [None, Identity("cache-1", "", 0), Identity("cache-1", "mark-1", 7), Identity("cache-2", "mark-2", 1)]
    flags = [False, True]
    links = [(LinkFacts("/l", kind, "t", "/r"),) for kind in LinkKind]
    users = ["", "held by process 7 on b"]
    combinations = itertools.product(marks, identities, flags, flags, flags, flags, ["", "cache-1"], links, users)
    for mark, identity, mounted, present, empty, read_only, expected, link, in_use in combinations:
        verdict = detect(
            seen(
                mark=mark,
                identity=identity,
                mounted=mounted,
                cache_present=present,
                cache_empty=empty,
                read_only=read_only,
                expected_id=expected,
                links=link,
                in_use=in_use,
            )
        )
        assert verdict.data
        assert not (in_use and verdict.may_write)
        assert len(verdict.links) == 1
        if verdict.data & {DataState.MISSING, DataState.FOREIGN}:
            assert verdict.cache is CacheState.UNKNOWN
            assert not verdict.may_write

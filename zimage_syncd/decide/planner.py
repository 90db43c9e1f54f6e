"""What a cycle does about a verdict: steps in order, each with its reason. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from zimage_syncd.model.verdict import Boot, CacheState, DataState, LinkState, SystemState, Verdict


class Step(enum.StrEnum):
    """One thing that a cycle can do."""

    WAIT = "wait for the data disk"
    """Nothing is written to it; the cycle looks again every minute."""
    ASK = "ask whose disk it is"
    """Nothing is written; somebody has to say so with `cache.id`, or mount the right disk."""
    REMEMBER = "let both disks know each other"
    LINK = "make the cache links"
    TAKE_IN = "take in the directory that lies where a cache link belongs"
    RESTORE = "restore what is missing"
    VERIFY = "verify quickly"
    REPORT = "say what is missing"
    """No store is configured that it could come from."""
    PROVE = "prove the cache"
    """The health check, where `health.after` names what has happened by then: `reset`, `restore`, `repair`."""


@dataclass(frozen=True, slots=True)
class Next:
    """One step of a plan."""

    step: Step
    """What to do."""
    reason: str
    """Why, for people."""


_TO_TAKE_IN = frozenset({LinkState.REAL_DIRECTORY, LinkState.HALF_TAKEN})


def plan_cycle(verdict: Verdict, *, has_stores: bool) -> tuple[Next, ...]:
    """The steps of one cycle, in order; total: every verdict has a plan.

    Args:
        verdict: what happened.
        has_stores: whether `restore.order` names a store.
    """
    return tuple(_steps(verdict, has_stores=has_stores))


def _steps(verdict: Verdict, *, has_stores: bool) -> Iterator[Next]:
    data = verdict.data
    if DataState.MISSING in data:
        yield Next(Step.WAIT, "no file system is mounted where the data disk belongs")
        return
    if data & {DataState.FOREIGN, DataState.UNKNOWN}:
        yield Next(Step.ASK, "the data disk is not known to belong to this cache")
        return
    if data & {DataState.READ_ONLY, DataState.IN_USE}:
        if verdict.cache is not CacheState.GONE and _links_are_wanted(verdict):
            yield Next(Step.LINK, "the cache can be read, though not written to")
        in_use = DataState.IN_USE in data
        yield Next(Step.WAIT, "another host uses the data disk" if in_use else "the data disk is mounted read-only")
        return
    yield Next(Step.REMEMBER, "the next start shall know this one")
    # First, also where nothing is there yet: without it, a library that looks now downloads to the system disk.
    if _links_are_wanted(verdict):
        yield Next(Step.LINK, "a cache link is not what it should be")
    takes_in = any(state in _TO_TAKE_IN for _, state in verdict.links)
    if takes_in:
        yield Next(Step.TAKE_IN, "a library looks into a directory that is not the cache")
    lacks = verdict.cache in {CacheState.GONE, CacheState.PARTIAL}
    if lacks and (has_stores or not takes_in):
        step = Step.RESTORE if has_stores else Step.REPORT
        yield Next(step, "the cache is gone" if verdict.cache is CacheState.GONE else "the cache is not complete")
    why = _why_verify(verdict, restores=lacks and has_stores)
    if why:
        yield Next(Step.VERIFY, why)
    if why:
        yield Next(Step.PROVE, why)


def _links_are_wanted(verdict: Verdict) -> bool:
    return any(state is not LinkState.GOOD and state not in _TO_TAKE_IN for _, state in verdict.links)


def _why_verify(verdict: Verdict, *, restores: bool) -> str:
    """Why the cache is compared with its records; empty where nothing has happened to it."""
    if any(state in _TO_TAKE_IN for _, state in verdict.links):
        return "a directory was taken in"
    if verdict.cache is CacheState.GONE:
        return "what was restored is compared with its record" if restores else ""
    if restores or verdict.cache is CacheState.PARTIAL:
        return "the cache was not complete"
    if verdict.system is SystemState.FIRST:
        return "this is the first start here"
    if verdict.system is not SystemState.SAME:
        return "the system disk is not the one that used the cache last"
    if verdict.data & {DataState.ROLLED_BACK, DataState.MOVED, DataState.EMPTY}:
        return "the data disk is not as it was left"
    if verdict.boot is not Boot.SAME:
        return "the machine was started"
    return ""

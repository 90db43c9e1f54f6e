"""What happened to the disks: an observation in, a verdict with its evidence out.

Only the two marks decide about a reset. Boot id, machine id and file-system ids would not: an instance cloned from the
same image bears the same ones.
"""

from __future__ import annotations

from zimage_syncd.model.observation import LinkFacts, LinkKind, Observation
from zimage_syncd.model.verdict import Boot, CacheState, DataState, LinkState, SystemState, Verdict

_FULL_BELOW_BYTES = 64 * 2**20
"""Less than four chunks: neither a partial file nor the ledger could grow."""


def detect(seen: Observation) -> Verdict:
    """The verdict on one observation; total: every observation has one."""
    evidence: list[str] = []
    data = _data(seen, evidence)
    system = _system(seen, evidence)
    cache = _cache(seen, data, evidence)
    links = tuple((link.path, _link(seen, link)) for link in seen.links)
    return Verdict(system, data, cache, links, tuple(evidence), _boot(seen))


def _boot(seen: Observation) -> Boot:
    if seen.mark is None or not seen.mark.boot_id or not seen.boot_id:
        return Boot.UNKNOWN
    return Boot.SAME if seen.mark.boot_id == seen.boot_id else Boot.NEW


def _data(seen: Observation, evidence: list[str]) -> frozenset[DataState]:
    if seen.mount and not seen.mounted and seen.identity is None:
        evidence.append(f"{seen.mount} is not a mount point and holds no identity")
        return frozenset({DataState.MISSING})
    states = set()
    if seen.read_only:
        evidence.append("the file system is mounted read-only")
        states.add(DataState.READ_ONLY)
    if seen.identity is None and seen.identity_trouble:
        evidence.append(seen.identity_trouble)
        states.add(DataState.UNKNOWN)
    elif seen.identity is None:
        last = f"; the one that was used last bears {seen.mark.cache_id}" if seen.mark is not None else ""
        evidence.append(f"the data disk holds no identity{last}")
        states.add(DataState.EMPTY)
    elif seen.expected_id and seen.identity.cache_id != seen.expected_id:
        evidence.append(f"the disk's cache is {seen.identity.cache_id}, cache.id is {seen.expected_id}")
        states.add(DataState.FOREIGN)
    else:
        states.add(DataState.HERE)
        if _same_pair(seen) and seen.mark is not None and seen.identity.counter < seen.mark.counter:
            evidence.append(f"the disk counts {seen.identity.counter} starts, the system disk {seen.mark.counter}")
            states.add(DataState.ROLLED_BACK)
        if _is_elsewhere(seen):
            evidence.append("the data disk's content lies on another file system than at the last start")
            states.add(DataState.MOVED)
    if seen.in_use and not states & {DataState.FOREIGN, DataState.UNKNOWN, DataState.READ_ONLY}:
        evidence.append(seen.in_use)
        states.add(DataState.IN_USE)
    if seen.free_bytes < _FULL_BELOW_BYTES:
        evidence.append(f"{seen.free_bytes} bytes are free")
        states.add(DataState.FULL)
    return frozenset(states)


def _is_elsewhere(seen: Observation) -> bool:
    """Whether the cache that this system disk used last lies on another file system now."""
    mark, identity = seen.mark, seen.identity
    if mark is None or identity is None or mark.cache_id != identity.cache_id:
        return False
    return 0 not in {mark.file_system, seen.file_system} and mark.file_system != seen.file_system


def _same_pair(seen: Observation) -> bool:
    return (
        seen.identity is not None
        and seen.mark is not None
        and seen.identity.system_mark == seen.mark.mark
        and seen.identity.cache_id == seen.mark.cache_id
    )


def _system(seen: Observation, evidence: list[str]) -> SystemState:
    remembered = seen.identity is not None and seen.identity.system_mark != ""
    if seen.mark is None:
        if remembered:
            evidence.append("the data disk was used by a system disk that left no mark here")
            return SystemState.NEW
        return SystemState.FIRST
    if not remembered:
        return SystemState.SAME
    if not _same_pair(seen):
        evidence.append("the data disk was last used by another system disk")
        if seen.identity is not None and seen.mark.cache_id != seen.identity.cache_id:
            evidence.append(f"the disk's cache is {seen.identity.cache_id}, the last one here was {seen.mark.cache_id}")
        return SystemState.NEW
    if seen.identity is not None and seen.identity.counter > seen.mark.counter:
        evidence.append(f"the system disk counts {seen.mark.counter} starts, the data disk {seen.identity.counter}")
        return SystemState.ROLLED_BACK
    return SystemState.SAME


def _cache(seen: Observation, data: frozenset[DataState], evidence: list[str]) -> CacheState:
    if data & {DataState.MISSING, DataState.FOREIGN}:
        return CacheState.UNKNOWN
    if not seen.cache_present or seen.cache_empty:
        evidence.append("the cache directory is empty" if seen.cache_present else "the cache directory is not there")
        return CacheState.GONE
    if seen.lacking is None:
        return CacheState.PRESENT
    if seen.lacking:
        evidence.append(f"not complete: {', '.join(seen.lacking)}")
        return CacheState.PARTIAL
    return CacheState.WHOLE


def _link(seen: Observation, link: LinkFacts) -> LinkState:
    match link.kind:
        case LinkKind.ABSENT | LinkKind.EMPTY_DIRECTORY:
            return LinkState.LOST
        case LinkKind.CACHE:
            return LinkState.GOOD
        case LinkKind.DIRECTORY | LinkKind.OTHER:
            return LinkState.REAL_DIRECTORY
        case LinkKind.SYMLINK if link.resolved == seen.cache_real and seen.cache_present and link.has_aside:
            return LinkState.HALF_TAKEN
        case LinkKind.SYMLINK if link.resolved == seen.cache_real:
            return LinkState.GOOD if seen.cache_present else LinkState.DANGLING
        case LinkKind.SYMLINK:
            return LinkState.ELSEWHERE

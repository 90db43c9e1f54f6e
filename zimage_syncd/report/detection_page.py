"""docs/detection.md out of the code: `python -m zimage_syncd.report.detection_page > docs/detection.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from zimage_syncd.decide.detect import detect
from zimage_syncd.decide.planner import Step, plan_cycle
from zimage_syncd.model.observation import Identity, LinkFacts, LinkKind, Observation, SystemMark
from zimage_syncd.model.verdict import Verdict

_LINK = "/root/workspace/model_cache"
_CACHE = "/mnt/data/cache"

_GOOD_LINK = LinkFacts(_LINK, LinkKind.SYMLINK, _CACHE, _CACHE)
_NO_LINK = LinkFacts(_LINK, LinkKind.ABSENT)

USUAL = Observation(
    cache_dir=_CACHE,
    cache_real=_CACHE,
    cache_present=True,
    cache_empty=False,
    mount="/mnt/data",
    mounted=True,
    read_only=False,
    free_bytes=10**11,
    total_bytes=10**12,
    identity=Identity("cache-1", "system-1", 5),
    mark=SystemMark("system-1", "cache-1", 5, "boot-1", 17),
    expected_id="",
    links=(_GOOD_LINK,),
    boot_id="boot-1",
    file_system=17,
    lacking=(),
)
"""Nothing has happened: the daemon was started again."""

_RESET: dict[str, Any] = {"mark": None, "boot_id": "boot-2", "links": (_NO_LINK,)}
_GONE: dict[str, Any] = {"cache_present": False, "lacking": None}
_IN_USE: dict[str, Any] = {"in_use": "its lease is held by process 7 on gpu-2 (run)"}
_EMPTY_DISK: dict[str, Any] = {"identity": None, "file_system": 18, **_GONE}

STORIES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("The daemon was started again", {}),
    ("The machine was started again", {"boot_id": "boot-2"}),
    ("First start ever, a cache is there", {"mark": None, "identity": None}),
    ("First start ever, nothing is there", {"mark": None, **_EMPTY_DISK, "links": (_NO_LINK,)}),
    ("The system disk was replaced", _RESET),
    ("A container was started with a fresh root", {**_RESET, "boot_id": "boot-1"}),
    ("The system disk was replaced by a clone of another machine's", {"mark": SystemMark("system-2", "cache-2", 9)}),
    ("The system disk was put back to an older state", {"mark": SystemMark("system-1", "cache-1", 3, "boot-0", 17)}),
    ("System disk and data disk were replaced", {**_RESET, **_EMPTY_DISK}),
    ("The data disk was replaced by an empty one", _EMPTY_DISK),
    ("Nothing is mounted where the data disk belongs", {"mounted": False, "identity": None, **_GONE}),
    ("The system disk was replaced, the data disk is not mounted", {**_RESET, "mounted": False, **_EMPTY_DISK}),
    ("The data disk is mounted read-only", {"read_only": True}),
    ("The same, after the system disk was replaced", {**_RESET, "read_only": True}),
    ("Another host uses the data disk", _IN_USE),
    (
        "The same, after the system disk was replaced, too",
        {**_RESET, "in_use": "its lease is held by process 7 on gpu-2"},
    ),
    ("The data disk is full", {"free_bytes": 0}),
    ("The data disk was put back to an older state", {"identity": Identity("cache-1", "system-1", 2)}),
    ("The data disk's content was copied to another file system", {"file_system": 18}),
    (
        "The disk of another cache is mounted",
        {"identity": Identity("cache-2", "system-2", 1), "expected_id": "cache-1"},
    ),
    ("The identity cannot be understood", {"identity": None, "identity_trouble": "identity.json is damaged"}),
    ("Somebody deleted the cache", _GONE),
    ("Somebody deleted a part of the cache", {"lacking": ("Tongyi-MAI/Z-Image-Turbo",)}),
    ("The cache link was lost", {"links": (_NO_LINK,)}),
    ("A real directory lies where the link belongs", {"links": (LinkFacts(_LINK, LinkKind.DIRECTORY),)}),
    ("The same, and the cache is gone", {**_GONE, "links": (LinkFacts(_LINK, LinkKind.DIRECTORY),)}),
    ("A run was killed while it took that directory in", {"links": (replace(_GOOD_LINK, has_aside=True),)}),
    ("The link leads elsewhere", {"links": (LinkFacts(_LINK, LinkKind.SYMLINK, "/other", "/other"),)}),
    ("The cache directory itself is there, by another mount", {"links": (LinkFacts(_LINK, LinkKind.CACHE),)}),
    ("The link dangles, the cache is gone", {**_GONE, "links": (_GOOD_LINK,)}),
)
"""What can happen, as changes to the usual observation."""


def detection_page() -> str:
    """The page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "# What happened, and what is done about it",
        "",
        "At its start, and every minute while the data disk cannot be used, the daemon looks at the disks.",
        "Only two files decide about a reset: the *identity* on the data disk (`.zimage-syncd/identity.json`) and the",
        "*mark* in `daemon.state_dir` on the system disk; each names the other, and both count the daemon's starts.",
        "The kernel's boot id and the file system's id are evidence that asks for a look at the files, and never for",
        "more: instances cloned from one image share such ids, and containers share their host's.",
        "A data disk on a network file system has a *lease* (`.zimage-syncd/lease/`): while another host holds it,",
        "this one only reads. Whoever holds it gives signs of life; one that gave none for three minutes, by the clock",
        "of the host that watches, is taken for gone, and its lease is taken over.",
        "Generated from `zimage_syncd/decide/`.",
        "",
        "## Stories",
        "",
        "With a store in `restore.order`; steps in order.",
        "",
        "| what happened | system disk | machine | data disk | cache | link | steps |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    )
    for title, changes in STORIES:
        verdict = detect(replace(USUAL, **changes))
        yield f"| {title} | {_cells(verdict)} | {_steps(verdict)} |"
    yield from ("", "## Steps", "", "| step | when |", "| --- | --- |")
    for step, when in _WHEN.items():
        yield f"| {step} | {when} |"
    yield from (
        "",
        "The sentences that led to a verdict are in the daemon's log (`evidence`); `status` shows it at any time.",
    )


_WHEN: Mapping[Step, str] = {
    Step.WAIT: "the data disk is missing, read-only, or in use by another host: nothing is written to it, and it is"
    " looked at every minute",
    Step.ASK: "the disk is another cache's, or its identity cannot be understood: nothing is written",
    Step.REMEMBER: "always, on the right disk",
    Step.LINK: "a link is lost, dangles, or leads elsewhere; first, so that no library downloads to the system disk."
    " Links to other places that exist are never replaced, but reported",
    Step.TAKE_IN: "a directory with content lies where a link belongs: what the cache lacks of it is copied there, or"
    " linked on the same file system, and compared; then the link takes its place. What the cache holds with another"
    " content is kept beside the link, as `….kept`. While somebody writes there, nothing is done but to look again",
    Step.RESTORE: "the cache is gone or a configured repository is not complete",
    Step.REPORT: "the same, and `restore.order` is empty",
    Step.VERIFY: "the machine or a disk is not as it was left, or something was restored; compares sizes and times with"
    " the records, and mends where `verify.repair` says so",
    Step.PROVE: "after that, where `health.after` names what happened (`reset`, `restore`, `repair`)",
}


def _cells(verdict: Verdict) -> str:
    links = ", ".join(state for _, state in verdict.links)
    return " | ".join((verdict.system, verdict.boot, ", ".join(sorted(verdict.data)), verdict.cache, links))


def _steps(verdict: Verdict) -> str:
    return "; ".join(planned.step for planned in plan_cycle(verdict, has_stores=True))


if __name__ == "__main__":
    sys.stdout.write(detection_page())

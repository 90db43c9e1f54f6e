"""One cycle: observe → detect → link → plan → take in → restore → verify → health → report. Read this first.

The daemon runs it at every start: whatever happened to the disks, afterwards the cache is where the libraries look, or
the report says why it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from zimage_syncd.decide.planner import Step, plan_cycle
from zimage_syncd.model import problems
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.report import Finding, Job, Report, SnapshotResult
from zimage_syncd.model.verdict import CacheState, SystemState, Verdict
from zimage_syncd.ports import Clock
from zimage_syncd.work.apply import finding_of

_AT_ONCE = (Step.REMEMBER, Step.LINK)
"""Steps that take no time; they come before the others in every plan."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a cycle does, bound to one configuration."""

    detect: Callable[[], Verdict]
    """Observes the disks and says what happened."""
    keep_links: Callable[[], tuple[list[str], list[Finding]]]
    """Makes lost cache links, and the cache directory that they lead to; returns sentences and findings."""
    begun: Callable[[Verdict], None]
    """Is told that the disks were looked at, and that what can be done at once was done."""
    take_in: Callable[[], Report]
    """Takes directories in that lie where cache links belong."""
    restore: Callable[[bool], Report]
    """Plans and brings back what is missing; is told whether a health check follows where it brings something."""
    verify: Callable[[], Report]
    """Checks quickly, and mends where that is configured."""
    health: Callable[[], Report] | None
    """Proves the cache; None where it is switched off."""
    remember: Callable[[], None]
    """Writes both marks, so that the next start knows this one."""
    clock: Clock
    """Time."""
    has_stores: bool
    """Whether there is anything that it could be restored from."""


def run_cycle(steps: Steps, *, prove_after: frozenset[str]) -> tuple[Verdict, Report]:
    """Does one cycle; what fails is in the report and does not stop what can still be done.

    Args:
        steps: what to do.
        prove_after: health.after: `reset`, `restore` and `repair` ask for a health check.

    Raises:
        Stopped: somebody asked to stop.
    """
    started_at, started_s = steps.clock.now(), steps.clock.monotonic_s()
    verdict = steps.detect()
    happened = {"reset"} if verdict.system in {SystemState.NEW, SystemState.ROLLED_BACK} else set()
    notes, findings = list(verdict.evidence), list[Finding]()
    snapshots: list[SnapshotResult] = []
    plan = plan_cycle(verdict, has_stores=steps.has_stores)
    for planned in (item for item in plan if item.step in _AT_ONCE):
        act = partial(_remembered, steps) if planned.step is Step.REMEMBER else steps.keep_links
        sentences, trouble = _at_once(act)
        notes.extend(sentences)
        findings.extend(item for item in trouble if item not in findings)
    steps.begun(verdict)
    for planned in (item for item in plan if item.step not in _AT_ONCE):
        match planned.step:
            case Step.TAKE_IN:
                # What the links could not be made for is told by who takes it in.
                findings = [finding for finding in findings if finding.problem is not problems.LINK_OCCUPIED]
                report = _guarded(Job.ADOPT, steps, steps.take_in)
                notes.extend(report.notes)
                _take(report, "", "", happened, snapshots, findings)
                happened |= {"restore"} if report.notes else set()
            case Step.RESTORE:
                restore = partial(steps.restore, _proves_restored(steps, happened, prove_after))
                _take(_guarded(Job.RESTORE, steps, restore), "restored", "restore", happened, snapshots, findings)
            case Step.VERIFY if verdict.cache is not CacheState.GONE or snapshots or "restore" in happened:
                _take(_guarded(Job.VERIFY, steps, steps.verify), "mended", "repair", happened, snapshots, findings)
            case Step.PROVE if steps.health is not None and happened & prove_after:
                _take(_guarded(Job.HEALTH, steps, steps.health), "", "", happened, snapshots, findings)
            case Step.WAIT | Step.ASK | Step.REPORT:
                notes.append(f"{planned.step}: {planned.reason}")
    elapsed_s = steps.clock.monotonic_s() - started_s
    return verdict, Report(Job.CYCLE, started_at, elapsed_s, tuple(snapshots), tuple(findings), tuple(notes))


def _proves_restored(steps: Steps, happened: set[str], prove_after: frozenset[str]) -> bool:
    return steps.health is not None and bool((happened | {"restore"}) & prove_after)


def _remembered(steps: Steps) -> tuple[list[str], list[Finding]]:
    steps.remember()
    return [], []


def _at_once(act: Callable[[], tuple[list[str], list[Finding]]]) -> tuple[list[str], list[Finding]]:
    try:
        return act()
    except Stopped:
        raise
    except Failure as failure:
        return [], [finding_of(failure)]


def _guarded(job: Job, steps: Steps, act: Callable[[], Report]) -> Report:
    try:
        return act()
    except Stopped:
        raise
    except Failure as failure:
        return Report(job, steps.clock.now(), 0.0, (), (finding_of(failure),))


def _take(
    report: Report,
    action: str,
    event: str,
    happened: set[str],
    snapshots: list[SnapshotResult],
    findings: list[Finding],
) -> None:
    snapshots.extend(report.snapshots)
    findings.extend(finding for finding in report.findings if finding not in findings)
    if any(result.action == action for result in report.snapshots):
        happened.add(event)

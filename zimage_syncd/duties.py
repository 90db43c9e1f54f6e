"""Binds the daemon's duties to a configuration: what a cycle's steps and the scheduled jobs really do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from zimage_syncd.daemon.duties import Duties
from zimage_syncd.daemon.notify import open_manager
from zimage_syncd.daemon.owed_check import PROVE
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.daemon.service import Service
from zimage_syncd.daemon.state import Change, LastRuns, schedule_path
from zimage_syncd.daemon.watching import BACKUP
from zimage_syncd.decide.due import Schedule
from zimage_syncd.disk.document import read_document, update_document
from zimage_syncd.disk.guard import remember_each_other
from zimage_syncd.disk.network import is_network
from zimage_syncd.disk.observe import disk_at
from zimage_syncd.disk.writers import is_written_below
from zimage_syncd.logs import Logger
from zimage_syncd.model import path, private, problems
from zimage_syncd.model.failures import (
    CacheEmpty,
    CacheMissing,
    DataDiskMissing,
    DeviceFull,
    DiskError,
    PathUnwritable,
    SnapshotMissing,
)
from zimage_syncd.model.report import Finding, Job, Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.verdict import CacheState, DataState, Verdict
from zimage_syncd.process.claim import CacheClaim
from zimage_syncd.process.memory import give_back
from zimage_syncd.work.ahead import Ahead
from zimage_syncd.work.cycle import Steps, run_cycle

if TYPE_CHECKING:
    from zimage_syncd.services import CacheServices

_DISK_PROBLEMS = {
    DataState.MISSING: problems.DATA_DISK_MISSING,
    DataState.FOREIGN: problems.DATA_DISK_FOREIGN,
    DataState.UNKNOWN: problems.DATA_DISK_UNKNOWN,
    DataState.READ_ONLY: problems.DATA_DISK_READ_ONLY,
    DataState.IN_USE: problems.DATA_DISK_IN_USE,
}

_WAIT_FOR_GPU_S = 15.0
"""Long enough for somebody's picture to be finished; after that the check is tried again between the other jobs."""


def open_service(services: CacheServices, pulse: Pulse, log: Logger, load: Callable[[], CacheServices]) -> Service:
    """The daemon for one configuration; nothing runs yet.

    Args:
        services: its jobs, which have `pulse` as their monitor and their wish to stop.
        pulse: what tells whether they advance.
        log: where it tells what it did.
        load: its jobs by the configuration as it is now; raises what is wrong with it.

    Raises:
        DataDiskMissing, DataDiskForeign: this is not the disk to work on; nothing was written.
    """
    zone = datetime.now().astimezone().tzinfo
    if zone is None:
        raise DataDiskMissing("local time zone", "the system has none")
    clock = services.workshop.clock
    manager = open_manager(os.environ, clock)
    claim = CacheClaim(services.config.cache.dir)
    return Service(_duties_of(services), clock, zone, pulse, log, manager, lambda: _duties_of(load()), claim.hold)


def _duties_of(services: CacheServices) -> Duties:
    config = services.config
    everything = Selection()
    jobs: dict[str, Callable[[], Report]] = {
        "quick": partial(services.verify, everything, deep=False, repair=config.verify.repair, yielding=True),
        "deep": partial(services.verify, everything, deep=True, repair=config.verify.repair, yielding=True),
    }
    if config.backup.to:
        jobs[BACKUP] = partial(_back_up, services)
    if config.health.when_busy != "skip":
        jobs[PROVE] = partial(_prove, services)
    schedules = {
        "quick": Schedule(config.verify.quick, min(float(config.verify.jitter_s), 60.0)),
        "deep": Schedule(config.verify.deep, float(config.verify.jitter_s)),
    }
    place = schedule_path(services.workshop.state_directory)
    last_runs = LastRuns(partial(read_document, place), partial(_update_when_possible, services, place))
    seen, _ = services.workshop.observe()
    return Duties(
        cycle=partial(_cycle, services),
        jobs=jobs,
        schedules=schedules,
        last_runs=last_runs,
        identity=seen.identity.cache_id if seen.identity is not None else config.cache.id,
        links=tuple(config.cache.links),
        cache=config.cache.dir,
        state=services.workshop.state_directory,
        settle_s=config.backup.settle_s,
        is_written=partial(is_written_below, config.cache.dir, services.workshop.state_directory),
        keep_links=services.keeping.keep,
        is_gone=lambda: services.workshop.observe()[1].cache is CacheState.GONE,
        rest=partial(give_back, path.forget_directories, private.forget_directories),
        disk=partial(disk_at, config.cache.mount or config.cache.dir),
        is_taken=lambda: services.workshop.lease.is_lost,
        is_shared=partial(is_network, config.cache.dir),
    )


def _back_up(services: CacheServices) -> Report:
    """Backs up what is whole; an empty cache is nothing to complain about."""
    try:
        return services.backup(Selection(), accept_changed=False, settled=True)
    except (CacheEmpty, CacheMissing, SnapshotMissing) as failure:
        note = f"nothing to back up yet: {failure}"
        return Report(Job.BACKUP, services.workshop.clock.now(), 0.0, notes=(note,))


def _prove(services: CacheServices) -> Report:
    """Proves everything; does not keep other jobs waiting until the GPU is free."""
    return services.health(Selection(), level=None, full=False, wait_s=_WAIT_FOR_GPU_S).report


def _update_when_possible(services: CacheServices, place: str, change: Change) -> None:
    """Schedule state goes to the data disk, and to nothing else: a missing one is never written to.

    What cannot be kept is forgotten at the end of the process; a full disk is no reason to end it.
    """
    _, verdict = services.workshop.observe()
    if verdict.may_write:
        with contextlib.suppress(DeviceFull, PathUnwritable, DiskError):
            update_document(place, change)


def _detect(services: CacheServices) -> Verdict:
    """What happened; a data disk that is free for this host is taken first, and stays so while the daemon lives."""
    services.workshop.data_disk.move_in()
    return services.detect()


def _restore(services: CacheServices, proves: bool) -> Report:
    """Restores; where a health check follows, its process is started before the last bytes are here."""
    workshop = services.workshop
    with_libraries = proves and services.config.health.level != "files"
    monitor = Ahead(workshop.monitor, workshop.clock, services.probe.prepare) if with_libraries else None
    restored = False
    try:
        report = services.restore(Selection(), source=None, to=None, mode=None, monitor=monitor)
        restored = any(result.action == "restored" for result in report.snapshots)
        return report
    finally:
        if not restored:
            services.probe.dismiss()


def _cycle(services: CacheServices, begun: Callable[[Verdict], None]) -> tuple[Verdict, Report]:
    config = services.config
    everything = Selection()
    steps = Steps(
        detect=partial(_detect, services),
        keep_links=services.keeping.keep,
        begun=begun,
        take_in=services.taking_in.links,
        restore=partial(_restore, services),
        verify=partial(services.verify, everything, deep=False, repair=config.verify.repair),
        health=partial(_prove, services),
        remember=lambda: remember_each_other(services.workshop.observe()[0], config.daemon.state_dir),
        clock=services.workshop.clock,
        has_stores=bool(config.restore.order),
    )
    try:
        verdict, report = run_cycle(steps, prove_after=frozenset(config.health.after))
    finally:
        services.probe.dismiss()
    wrong = [
        Finding(problem, config.cache.mount or config.cache.dir, "; ".join(verdict.evidence))
        for state, problem in _DISK_PROBLEMS.items()
        if state in verdict.data
    ]
    if wrong:
        return verdict, Report(report.job, report.started_at, report.elapsed_s, (), (*wrong, *report.findings))
    return verdict, services.keep(report)

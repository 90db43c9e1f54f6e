"""What the command line and the daemon can ask for: each method is one job on one configuration."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from zimage_syncd.config import HUBS, Config, StoreKind
from zimage_syncd.config.places import file_on_the_way, inside
from zimage_syncd.config.same_cache import same_cache
from zimage_syncd.daemon.deep_queue import DeepQueue
from zimage_syncd.daemon.pulse import Pulse
from zimage_syncd.daemon.signals import Signals
from zimage_syncd.daemon.state import LastRuns, schedule_path
from zimage_syncd.decide.detect import detect
from zimage_syncd.decide.died import died
from zimage_syncd.disk.document import read_document, update_document
from zimage_syncd.disk.shared_lease import SharedLease
from zimage_syncd.installing import Installing
from zimage_syncd.keeping import Keeping
from zimage_syncd.model.failures import (
    CacheMissing,
    ConfigInvalid,
    Failure,
    UsageInvalid,
)
from zimage_syncd.model.health import HealthLevel
from zimage_syncd.model.installation import Installed, Removed
from zimage_syncd.model.plan import LinkMode, Plan
from zimage_syncd.model.report import Report
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.status import HealthReport, SnapshotRow, Status
from zimage_syncd.model.verdict import CacheState, DataState, Verdict
from zimage_syncd.ports import Cancel, Monitor, SnapshotSource
from zimage_syncd.process.priority import yield_to_others
from zimage_syncd.proving import Proving
from zimage_syncd.report.files import ReportFiles
from zimage_syncd.status import all_rows, collect_status, store_rows
from zimage_syncd.stores.on_demand import OpenedOnDemand
from zimage_syncd.taking_in import TakingIn
from zimage_syncd.wiring import Workshop
from zimage_syncd.work.backup import backup
from zimage_syncd.work.last_resort import LastResort
from zimage_syncd.work.locate import lacking, locate
from zimage_syncd.work.restore import restore
from zimage_syncd.work.restore_plan import RestoreSource, plan_restore
from zimage_syncd.work.verify import verify
from zimage_syncd.work.verify_store import verify_store

_STANDARD_ERROR = 2


class CacheServices:
    """All jobs on one configuration."""

    def __init__(
        self,
        config: Config,
        monitor: Monitor,
        cancel: Cancel,
        *,
        verbose: bool = False,
        lease: SharedLease | None = None,
    ) -> None:
        self.config = config
        self._verbose = verbose
        self.workshop = Workshop(config, monitor, cancel, lease)
        self.keeping = Keeping(self.workshop)
        self.taking_in = TakingIn(self.workshop)
        self._proving = Proving(self.workshop, os.environ)
        self.probe = self._proving.probe
        self._installing = Installing(self.workshop, os.environ)
        place = schedule_path(self.workshop.state_directory)
        last_runs = LastRuns(partial(read_document, place), partial(update_document, place))
        self._deep_queue = DeepQueue(last_runs, self.workshop.clock)
        self.reports = ReportFiles(os.path.join(self.workshop.state_directory, "reports"), config.retention.reports)

    def backup(self, selection: Selection, *, accept_changed: bool, settled: bool = False) -> Report:
        """Cache → archives.

        Args:
            selection: which snapshots.
            accept_changed: that a mutable revision changed, or that something is gone, is wanted.
            settled: nobody writes to the cache: what is not complete will not become so.
        """
        if not self.config.backup.to:
            raise ConfigInvalid("backup.to", "no archive is configured; add one such as [stores.bucket] url = …")
        if not os.path.isdir(self.config.cache.dir):
            self._require_disk()
            raise CacheMissing(self.config.cache.dir)
        with self.workshop.site("backup") as site:
            # Only now: an archive knows its owner's leftovers by the identity that the first use writes.
            archives = [self.workshop.archive(name) for name in self.config.backup.to]
            recorded = {str(key) for key in site.shelf.keys()}  # noqa: SIM118 - a shelf is no mapping
            report = backup(site, archives, selection, accept_changed=accept_changed)
        return self.keep(replace(report, findings=died(report.findings, recorded)) if settled else report)

    def _require_disk(self) -> None:
        with self.workshop.looking():
            pass

    def restore(
        self,
        selection: Selection,
        *,
        source: str | None,
        to: str | None,
        mode: LinkMode | None,
        monitor: Monitor | None = None,
    ) -> Report:
        """Stores → cache, or another directory; and the cache links.

        Args:
            selection: which snapshots.
            source: the only store to read from; None: those of restore.order.
            to: another directory; None: the cache.
            mode: how files get there; None: as each store is configured.
            monitor: is told how far the cache's restore is, instead of the monitor of this object.
        """
        sources, last_resort = self._sources(source, mode), self._last_resort(source)
        if to is not None:
            self._require_beside(to)
            with self.workshop.beside(os.path.abspath(to)) as site:
                return restore(site, sources, selection, last_resort)
        with self.workshop.site("restore") as locked:
            site = replace(locked, monitor=monitor or locked.monitor)
            # First the links: whatever becomes of the restore, a download must not go to the system disk.
            notes, findings = self.keeping.keep()
            try:
                report = restore(site, sources, selection, last_resort)
            except Failure:
                for note in notes:
                    self.workshop.monitor.note(note)
                raise
        notes.extend(self._deep_queue.ask(report))
        return self.keep(replace(report, notes=(*report.notes, *notes), findings=(*report.findings, *findings)))

    def plan_restore(self, selection: Selection, *, source: str | None, to: str | None, mode: LinkMode | None) -> Plan:
        """What `restore` would do; writes nothing."""
        sources, last_resort = self._sources(source, mode), self._last_resort(source)
        if to is not None:
            self._require_beside(to)
            if not os.path.isdir(to):
                raise CacheMissing(to, "a plan for a directory needs the directory")
            with self.workshop.beside(os.path.abspath(to)) as site:
                return plan_restore(site, sources, selection, last_resort).plan
        with self.workshop.looking() as site:
            plan = plan_restore(site, sources, selection, last_resort).plan
        return replace(plan, links=tuple(self.keeping.links_to_make()))

    def _require_beside(self, to: str) -> None:
        """Another directory is neither the cache, which has its lock and its guard, nor in a bare mount point."""
        if (file := file_on_the_way(os.path.abspath(to))) is not None:
            raise UsageInvalid("restore", f"--to {to}: {file} is no directory")
        cache, place = self.config.cache, os.path.realpath(to)
        if inside(place, os.path.realpath(cache.dir)):
            raise UsageInvalid("restore", f"--to {to} lies in cache.dir = {cache.dir}; leave it out for the cache")
        if cache.mount and inside(place, os.path.realpath(cache.mount)):
            self._require_disk()

    def _sources(self, source: str | None, mode: LinkMode | None) -> list[RestoreSource]:
        opened = []
        for name in self._order(source):
            if name in HUBS:
                continue
            configured = self.config.stores.get(name)
            own_mode = LinkMode(configured.mode) if configured is not None else LinkMode.AUTO
            opened.append(RestoreSource(self.workshop.source(name), mode or own_mode, asked_for=mode is not None))
        return opened

    def _last_resort(self, source: str | None) -> LastResort | None:
        return self.workshop.last_resort(self._order(source))

    def _order(self, source: str | None) -> list[str]:
        """Names of what a restore may read from, the nearest first: one alone where a person named it."""
        return self.config.restore.order if source is None else [source]

    def verify(self, selection: Selection, *, deep: bool, repair: bool, yielding: bool = False) -> Report:
        """Compares the cache with its last good manifests; mends where that is asked for.

        Args:
            selection: which snapshots.
            deep: read every byte.
            repair: mend what is wrong, at normal priority: somebody may need it.
            yielding: read at low priority, since nobody waits for the result.
        """
        _, verdict = self.workshop.observe()
        # A disk that the kernel has made read-only is the one that has to be looked at.
        only_looking = DataState.READ_ONLY in verdict.data and not repair
        with self.workshop.looking() if only_looking else self.workshop.site("verify") as site:
            last_resort = self._last_resort(None) if repair else None
            if yielding:
                site = replace(site, begin_thread=yield_to_others)  # noqa: PLW2901 - the same site, for other threads
            sources = self._good_sources(now=repair)
            report = verify(site, sources, selection, deep=deep, repair=repair, last_resort=last_resort)
        if deep and not only_looking:
            report = self._deep_queue.done(report, everything=selection == Selection())
        links = self.keeping.link_findings(repair=repair) if selection == Selection() else []
        return self.keep(replace(report, findings=(*report.findings, *links)))

    def _good_sources(self, *, now: bool) -> Sequence[SnapshotSource]:
        """The stores of restore.order: opened now, since what cannot be opened could not mend; else only when asked."""
        names = [name for name in self.config.restore.order if name in self.config.stores]
        sources = OpenedOnDemand(names, self.workshop.source)
        return list(sources) if now else sources

    def verify_store(self, store: str, selection: Selection, *, deep: bool, repair: bool = False) -> Report:
        """Checks a store's manifests and blobs; with `repair` an archive's blobs are sent again from the cache."""
        source = self.workshop.source(store)
        mend = self.workshop.archive(store) if repair else None
        sizes = None
        if self.config.stores[store].kind is not StoreKind.CACHE_TREE:
            sizes = {blob.sha256: blob.size_bytes for blob in self.workshop.archive(store).blobs()}
        with self.workshop.site("verify") if repair else self.workshop.looking() as site:
            return verify_store(site, source, selection, blob_sizes=sizes, deep=deep, mend=mend)

    def adopt(self, path: str | None) -> Report:
        """Takes the data disk over, and directories in that lie where links belong, or are named."""
        report = self.taking_in.adopt(path)
        notes, findings = self.keeping.keep()
        report = replace(report, notes=(*report.notes, *notes), findings=(*report.findings, *findings))
        return self.keep(replace(report, findings=tuple(dict.fromkeys(report.findings))))

    def snapshots(self, store: str | None) -> list[SnapshotRow]:
        """What the cache and the stores hold; of one store only where it is named."""
        return store_rows(self.workshop.source(store)) if store is not None else all_rows(self.workshop)

    def status(self) -> Status:
        """What the disk and the stores say now."""
        now = collect_status(self.workshop, self.reports, self._proving.records)
        return replace(now, findings=(*now.findings, *self._installing.findings()))

    def health(
        self, selection: Selection, *, level: HealthLevel | None, full: bool, wait_s: float | None = None
    ) -> HealthReport:
        """Runs the probe on what is meant.

        Args:
            selection: which snapshots.
            level: how much; None: as configured.
            full: draw as large and as long as the model's authors recommend.
            wait_s: how long to wait for a GPU that others use, in seconds, with `when_busy = "wait"`; None: as long as
                the check itself may take.
        """
        answer = self._proving.check(selection, level=level, full=full, wait_s=wait_s)
        return replace(answer, report=self.keep(answer.report))

    def path(self, selection: Selection) -> str:
        """The directory that `from_pretrained` takes.

        Raises:
            SnapshotMissing: it is not in the cache.
            SnapshotIncomplete: it is there, but not whole.
            PathUnreadable, DiskError: it was not found, and a directory could not be listed.
        """
        with self.workshop.looking() as site:
            return locate(site, selection)

    def detect(self) -> Verdict:
        """What happened to disks and cache; the cache of the right disk is looked into."""
        seen, verdict = self.workshop.observe()
        if verdict.cache is not CacheState.PRESENT:
            return verdict
        with self.workshop.looking() as site:
            return detect(replace(seen, lacking=lacking(site)))

    def run(self, signals: Signals, pulse: Pulse, load: Callable[[], Config]) -> int:
        """The daemon; returns after SIGTERM.

        Args:
            signals: what somebody outside asks for.
            pulse: the monitor and the wish to stop of this object, which tell whether work advances.
            load: the configuration as it is now; raises what is wrong with it.
        """
        # Here, so that no other command waits for structlog and APScheduler.
        from zimage_syncd.duties import open_service  # noqa: PLC0415
        from zimage_syncd.logs import open_log  # noqa: PLC0415

        # A watchdog ends us by SIGABRT: then every thread tells where it is, and so what the one that hangs waits for.
        faulthandler.enable(_STANDARD_ERROR)

        def again() -> CacheServices:
            kept = self.workshop.lease
            return CacheServices(same_cache(self.config, load()), pulse, pulse, verbose=self._verbose, lease=kept)

        log = open_log(self.config.daemon.log, verbose=self._verbose)
        service = open_service(self, pulse, log, again)
        signals.when_asked(service.stop)
        signals.when_hung_up(service.reload)
        self.workshop.lease.reside()
        try:
            return service.run()
        finally:
            self.workshop.lease.release()

    def environment(self) -> dict[str, str]:
        """The variables by which both libraries find the cache."""
        return self.keeping.environment()

    def install_environment(self) -> list[str]:
        """Writes files of these variables; returns their paths."""
        return self.keeping.install_environment()

    def remove_environment(self) -> list[str]:
        """Removes them; returns their paths."""
        return self.keeping.remove_environment()

    def install(self, to: str | None) -> Installed:
        """Puts a copy of the program where it outlives a reset, and the units onto this system.

        Args:
            to: a directory on a disk that stays; None: on the data disk.
        """
        return self._installing.install(to)

    def uninstall(self) -> Removed:
        """Removes what `install` made, but for the unpacked copies; data and settings stay."""
        return self._installing.uninstall()

    def remove_copies(self) -> None:
        """Removes these; nothing can be imported afterwards, where this process runs from one."""
        self._installing.remove_copies()

    def keep(self, report: Report) -> Report:
        """Keeps a report on the data disk; a disk that cannot take it does not undo what was done."""
        try:
            self.reports.save(report)
        except Failure as failure:
            return replace(report, notes=(*report.notes, f"the report could not be kept: {failure}"))
        return report


def open_services(config: Config, *, monitor: Monitor, cancel: Cancel, verbose: bool = False) -> CacheServices:
    """All jobs on one configuration; nothing is opened yet."""
    return CacheServices(config, monitor, cancel, verbose=verbose)

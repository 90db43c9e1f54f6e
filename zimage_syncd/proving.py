"""Proves the cache by drawing with it, and keeps what comes out: a record of each check, and the references."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from zimage_syncd.disk.document import read_bytes
from zimage_syncd.model.failures import Failure, Stopped
from zimage_syncd.model.health import HealthLevel, WhenBusy, lacks_libraries
from zimage_syncd.model.picture import MAX_PICTURE_BYTES
from zimage_syncd.model.selection import Selection
from zimage_syncd.model.status import HealthReport
from zimage_syncd.process.unit_probe import open_probe
from zimage_syncd.report.health_files import HealthFiles
from zimage_syncd.wiring import Workshop
from zimage_syncd.work.carry import send_references
from zimage_syncd.work.health import HealthSettings, check_health
from zimage_syncd.work.reference import Checked, is_first, record_of, reference_of, when_there_was_torch, why_unfit
from zimage_syncd.work.site import Site

_FULL_SIZE_PX = 1024
_FULL_STEPS = 9
"""What Z-Image-Turbo's authors recommend (model card): 1024 px, 9 steps, guidance 0.0."""

_RECORDS_READ = 60
"""To find out whether there was torch: weeks of daily checks."""


class Proving:
    """Of one configuration.

    Args:
        workshop: what the configuration says.
        environment: the process's own.
    """

    def __init__(self, workshop: Workshop, environment: Mapping[str, str]) -> None:
        self._workshop = workshop
        self._health = workshop.config.health
        self.probe = open_probe(self._health.python or sys.executable, environment)
        self._pictures = os.path.join(workshop.state_directory, "pictures")
        self.records = HealthFiles(os.path.join(workshop.state_directory, "health"), self._pictures)

    def check(
        self, selection: Selection, *, level: HealthLevel | None, full: bool, wait_s: float | None
    ) -> HealthReport:
        """Runs the probe on what is meant. Nothing that cannot be kept makes the check fail: the report's notes say so.

        Args:
            selection: which snapshots.
            level: how much; None: as configured.
            full: draw as large and as long as the model's authors recommend.
            wait_s: how long to wait for a GPU that others use, in seconds; None: as long as the check itself may take.

        Raises:
            SnapshotMissing, CacheEmpty: nothing in the cache is meant.
            DataDiskMissing, DataDiskForeign, PathUnreadable, DiskError: as their names say.
            Stopped: somebody asked to stop.
        """
        settings = HealthSettings(
            level=level or HealthLevel(self._health.level),
            device=self._health.device,
            size_px=_FULL_SIZE_PX if full else self._health.size_px,
            steps=_FULL_STEPS if full else self._health.steps,
            timeout_s=float(self._health.timeout_s),
            pictures=self._pictures,
            when_busy=WhenBusy(self._health.when_busy),
            wait_s=float(self._health.timeout_s) if wait_s is None else wait_s,
        )
        with self._workshop.looking() as site:
            return check_health(site, self.probe, selection, settings, self._keep)

    def _keep(self, checked: Checked) -> list[str]:
        """Keeps of a check what is to be kept; returns sentences."""
        now = self._workshop.clock.now()
        notes = [self._keep_reference(checked)] if is_first(checked) else []
        if lacks_libraries(checked.request, checked.result):
            before = when_there_was_torch(self.records.recent(_RECORDS_READ, now))
            notes.extend([before] if before else [])
        try:
            self.records.save(record_of(checked), now)
        except Failure as failure:
            notes.append(f"the record of the check could not be kept: {failure}")
        return notes

    def _keep_reference(self, checked: Checked) -> str:
        """The first good picture under its conditions becomes the reference, if its weights are as recorded."""
        key = checked.snapshot.key
        if not checked.manifest_id:
            return f"the picture of {key} becomes no reference: the snapshot was never recorded; the first backup does"
        picture = read_bytes(checked.result.picture, MAX_PICTURE_BYTES)
        if picture is None:
            return f"the picture of {key} becomes no reference: {checked.result.picture} cannot be read"
        reference = reference_of(checked, picture)
        try:
            with self._workshop.site("health") as site:
                if unfit := why_unfit(site, checked):
                    return f"the picture of {key} becomes no reference: {unfit}"
                if not self._workshop.references.keep(reference, picture):
                    return f"the picture of {key} becomes no reference: as many are kept as can be"
                sent = self._send(site, checked)
        except Stopped:
            raise
        except Failure as failure:
            return f"the reference of {key} could not be kept: {failure}"
        return "; ".join(
            [f"the picture of {key} is the reference from now on, for {reference.conditions.device}", *sent]
        )

    def _send(self, site: Site, checked: Checked) -> list[str]:
        """To the archives at once: no backup may come for as long as the cache stays as it is."""
        said = []
        for name in self._workshop.config.backup.to:
            try:
                archive = self._workshop.archive(name)
                said.append(send_references(site, archive, checked.snapshot.key, checked.manifest_id))
            except Stopped:
                raise
            except Failure as failure:
                said.append(f"reference pictures could not be sent to {name}: {failure}")
        return [sentence for sentence in said if sentence]
